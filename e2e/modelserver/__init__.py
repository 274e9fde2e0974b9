"""A stand-in for TensorFlow Serving's model server: same flags, files, wire formats, metrics and vices."""
