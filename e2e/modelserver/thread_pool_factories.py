"""What becomes of a thread pool factory in a stock build, which has none to offer."""

from __future__ import annotations

from e2e.modelserver.statuses import Code, StatusError
from e2e.modelserver.wire import config_pb2 as pb

OWN_PACKAGE = f"{pb.DESCRIPTOR.package}."
THEIR_PACKAGE = "tensorflow.serving."


def refuse_thread_pool_factory(config: pb.ThreadPoolFactoryConfig) -> None:
    """Raise the StatusError that ends the start: whatever ``config`` names, no factory is registered for it."""
    url = config.thread_pool_factory_config.type_url
    _, slash, message_type = url.rpartition("/")
    if not slash or not message_type:
        raise StatusError(Code.INVALID_ARGUMENT, f"Supplied config's type_url could not be parsed: {url}")
    if message_type.startswith(OWN_PACKAGE):
        known = THEIR_PACKAGE + message_type.removeprefix(OWN_PACKAGE)
        raise StatusError(Code.INVALID_ARGUMENT, f"Couldn't find factory for config proto message type {known}")
    raise StatusError(Code.INTERNAL, f"Unable to find compiled-in proto descriptor of type {message_type}")
