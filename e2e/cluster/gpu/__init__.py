"""GPUs that are none: advertised, allocated and taken away as the real ones, by the kubelet's own means."""
