"""``python -m tfserving_operator.fetch``: fetches a model's versions, and reports to the kubelet.

Exit status 0 when the versions are in place, 1 when not, 2 for wrong usage, 143 when told to stop.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tfserving_operator.fetch.credentials import Credentials, read_credentials
from tfserving_operator.fetch.disk import Volume
from tfserving_operator.fetch.errors import FetchError
from tfserving_operator.fetch.fetcher import fetch_model
from tfserving_operator.fetch.log import configure_logging, log
from tfserving_operator.fetch.request import FetchRequest
from tfserving_operator.fetch.retrying import DEFAULT_ATTEMPTS
from tfserving_operator.fetch.source import parse_source
from tfserving_operator.fetch.termination import FetchFailure, FetchReason, FetchSuccess, write_termination_message
from tfserving_operator.fetch.versions import parse_policy

_STOPPED_STATUS = 128 + signal.SIGTERM


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the fetch that ``arguments`` describe and return the exit status."""
    options = _parse_arguments(arguments)
    configure_logging(model=options.model)
    os.umask(0o022)  # The model server may run as another user than we do.
    credentials = Credentials()
    try:
        credentials = read_credentials(options.credentials_dir)
        success = asyncio.run(_fetch(_request(options, credentials)))
    except FetchError as error:
        return _report_failure(options, credentials, error)
    except asyncio.CancelledError:
        log.warning("stopped; what has arrived is kept")
        return _STOPPED_STATUS
    except Exception as error:
        log.exception("defect in the fetcher")
        defect = f"The fetcher failed: {type(error).__name__}: {error}. Its log has more; please report it."
        return _report_failure(options, credentials, FetchError(FetchReason.InternalError, defect))
    return _report_success(options, success)


async def _fetch(request: FetchRequest) -> FetchSuccess:
    task = asyncio.create_task(fetch_model(request))
    # As PID 1 of a container the default action of SIGTERM is to be ignored.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _request(options: argparse.Namespace, credentials: Credentials) -> FetchRequest:
    return FetchRequest(
        model=options.model,
        source=parse_source(options.uri),
        policy=parse_policy(options.versions),
        destination=Volume(options.destination, options.size_limit_bytes),
        credentials=credentials,
        concurrency=options.concurrency,
        timeout_seconds=options.timeout_seconds,
        attempts=options.attempts,
    )


def _report_failure(options: argparse.Namespace, credentials: Credentials, error: FetchError) -> int:
    message = credentials.redacted(error.message)
    log.error("fetch failed", extra={"reason": str(error.reason), "error": message})
    _write_message(options.termination_message_path, FetchFailure(error.reason, message, options.model).to_json_line())
    return 1


def _report_success(options: argparse.Namespace, success: FetchSuccess) -> int:
    fields = {"versions": success.versions, "bytes": success.bytes_fetched, "seconds": round(success.seconds, 3)}
    log.info("fetch complete", extra=fields)
    _write_message(options.termination_message_path, success.to_json_line())
    return 0


def _write_message(path: Path, line: str) -> None:
    try:
        write_termination_message(path, line)
    except OSError as error:
        log.warning("termination message not written", extra={"path": str(path), "error": error.strerror})


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tfserving_operator.fetch", description="Fetch a model's versions into a directory."
    )
    parser.add_argument("--model", required=True, help="name of the model, and of its directory")
    parser.add_argument("--uri", required=True, help="s3://bucket/prefix, gs://bucket/prefix, or an archive's URL")
    parser.add_argument("--versions", default="latest:1", help="latest:N, all or specific:3,4 (default latest:1)")
    parser.add_argument("--destination", required=True, type=Path, help="directory to hold the model's directory")
    parser.add_argument("--size-limit-bytes", type=_positive_int, help="most that this model may take there")
    parser.add_argument("--credentials-dir", type=Path, help="mounted secret, a file a key")
    parser.add_argument("--termination-message-path", type=Path, default=Path("/dev/termination-log"))
    parser.add_argument("--concurrency", type=_positive_int, default=8, help="requests at once (default 8)")
    parser.add_argument("--timeout-seconds", type=_positive_float, default=3600.0, help="for all (default 3600)")
    parser.add_argument("--attempts", type=_positive_int, default=DEFAULT_ATTEMPTS, help="for each request")
    return parser.parse_args(arguments)


def _positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _positive_float(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return number


if __name__ == "__main__":
    exit_status = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # The object store's own threads can abort the interpreter while it is torn down, after all work is done: a fetch
    # that succeeded would then end with SIGABRT. Nothing is left to clean up, so the teardown is left out.
    os._exit(exit_status)
