"""A Kubernetes operator for fleets of TensorFlow Serving."""
