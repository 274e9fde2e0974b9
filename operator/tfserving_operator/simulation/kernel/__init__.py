"""The inner loop of the simulator, compiled by numba: requests, queues, lifecycles and scrapes of one tick."""
