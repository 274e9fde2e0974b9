"""What a scaling policy would have done: traces of load replayed against simulated pools."""
