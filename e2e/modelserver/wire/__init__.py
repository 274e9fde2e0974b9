"""Messages compiled from the .proto files here: `python -m e2e.modelserver.wire.compile`."""
