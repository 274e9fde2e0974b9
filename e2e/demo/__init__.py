"""The demonstration: from nothing to a prediction, on the embedded cluster or on the one of the kubeconfig."""
