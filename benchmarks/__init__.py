"""Comparisons, side by side in one run; never a test that times."""
