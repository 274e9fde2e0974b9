"""How many replicas each pool should have: pure functions of what was observed and of the clock they are given."""
