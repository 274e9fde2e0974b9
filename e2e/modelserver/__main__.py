"""`tensorflow_model_server`, or `python -m e2e.modelserver` without an image."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence

from e2e.modelserver.flag_parsing import parse_command_line, usage_text
from e2e.modelserver.options import ServerOptions
from e2e.modelserver.statuses import status_of

VERSION_TEXT = "TensorFlow ModelServer: 2.20.0-standin\nTensorFlow Library: 2.21.0"
EXIT_FAILED = 255
EXIT_OK = 0


def main(program: str, arguments: Sequence[str]) -> int:
    """Return the exit code; a server that started never returns."""
    behave_like_a_program_without_signal_handlers()
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03d: %(levelname).1s %(name)s] %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        stream=sys.stderr,
    )
    command_line = parse_command_line(arguments)
    for complaint in command_line.complaints:
        logging.getLogger(__name__).error(complaint)
    if not command_line.usable:
        print(usage_text(program), end="", flush=True)
        return EXIT_FAILED
    if command_line.options.version:
        print(VERSION_TEXT, flush=True)
        return EXIT_OK
    if command_line.left_over:
        print(f"unknown argument: {command_line.left_over[0]}\n{usage_text(program)}", end="", flush=True)
    try:
        asyncio.run(serve(command_line.options))
    except Exception as error:
        print(f"Failed to start server. Error: {status_of(error)}", flush=True)
        # Loads that still run in threads would hold an orderly exit up.
        os._exit(EXIT_FAILED)
    return EXIT_FAILED


def behave_like_a_program_without_signal_handlers() -> None:
    """Leave SIGTERM and SIGINT to the kernel: deadly, except to PID 1, which never hears of them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


async def serve(options: ServerOptions) -> None:
    """Start a server and serve for ever."""
    # Imported late: a wrong flag must not wait for gRPC and HTTP libraries.
    from e2e.modelserver.admin import AdminFront
    from e2e.modelserver.faults import Faults
    from e2e.modelserver.knobs import ADMIN_PORT_VARIABLE, knobs_from_environment
    from e2e.modelserver.server import ModelServer

    faults = Faults(knobs_from_environment(os.environ))
    admin_port = os.environ.get(ADMIN_PORT_VARIABLE, "")
    admin = await AdminFront(faults).start(int(admin_port)) if admin_port else None
    server = ModelServer(options, faults)
    await server.start()
    await server.wait()
    del admin


if __name__ == "__main__":
    sys.exit(main(sys.argv[0], sys.argv[1:]))
