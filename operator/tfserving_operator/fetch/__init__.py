"""The program of the init container that brings model versions into a pod.

It stands alone: nothing here imports the rest of the operator, so it starts in a fraction of a second.
The operator imports :mod:`tfserving_operator.fetch.termination` to read what it reports.
"""
