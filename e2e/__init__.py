"""The end-to-end tests, and the machinery they stand on: a real cluster, a stand-in server, a trained model."""
