"""End-to-end tests and what they stand on: a real cluster, a stand-in server, a trained model."""
