"""Desired children of a ServedModel: pure builders from the parsed spec to Kubernetes manifests."""
