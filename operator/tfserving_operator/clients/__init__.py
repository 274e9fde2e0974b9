"""Everything the operator talks to, behind types of its own: the Kubernetes API and the model servers."""
