"""Replays a version's warm-up records, a TFRecord file of PredictionLog, before it is available."""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from e2e.modelserver.file_access import is_there
from e2e.modelserver.saved_model import DEFAULT_SIGNATURE
from e2e.modelserver.statuses import OK, Code, StatusError
from e2e.modelserver.tensors import from_proto
from e2e.modelserver.wire import serving_pb2 as pb

if TYPE_CHECKING:
    from e2e.modelserver.inference import Inference
    from e2e.modelserver.metrics import ServerMetrics
    from e2e.modelserver.sessions import ServingSession

log = logging.getLogger(__name__)

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MOST_RECORDS = 1000
LENGTH_BYTES = 8
CHECKSUM_BYTES = 4


async def warm_up(
    session: ServingSession, path: Path, inference: Inference, metrics: ServerMetrics, iterations: int
) -> None:
    """Run the records of the version in ``path`` on ``session``; raise StatusError when one fails."""
    file = path / WARMUP_FILE
    if not is_there(file):
        log.info("No warmup data file found at %s", file)
        return
    begin = time.monotonic()
    records = 0
    status = OK
    try:
        for record in read_records(file):
            await _replay(session, record, file, inference, iterations)
            records += 1
            check_count(records, file)
    except StatusError as error:
        if error.status.code is not Code.DATA_LOSS:
            raise
        status = error.status
    # A record that fails is not recorded here: only reading to the end, or to where the file is damaged.
    metrics.warmup_latency.observe((time.monotonic() - begin) * 1e6, str(path), str(status))
    metrics.warmup_records_read.add(records, str(path), str(status))
    if not status.ok:
        raise StatusError(status.code, f"{status.message}. Please verify your warmup data is in TFRecord format.")


async def _replay(session: ServingSession, record: bytes, file: Path, inference: Inference, iterations: int) -> None:
    try:
        prediction_log = pb.PredictionLog.FromString(record)
    except DecodeError as error:
        raise StatusError(Code.INVALID_ARGUMENT, f"Failed to parse warmup record: {record!r} from {file}") from error
    for _ in range(iterations):
        await _run(session, prediction_log, inference)


def check_count(records: int, file: Path) -> None:
    """Raise StatusError when ``records`` are too many."""
    if records > MOST_RECORDS:
        raise StatusError(
            Code.INVALID_ARGUMENT, f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {file}"
        )


async def _run(session: ServingSession, prediction_log: pb.PredictionLog, inference: Inference) -> None:
    match prediction_log.WhichOneof("log_type"):
        case "predict_log":
            request = prediction_log.predict_log.request
            inputs = {alias: from_proto(tensor) for alias, tensor in request.inputs.items()}
            signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
            name = request.model_spec.name
            await inference.run_predict(session, name, signature, inputs, request.output_filter, None)
        case "classify_log":
            classify = prediction_log.classify_log.request
            await inference.run_classify(session, classify.model_spec, classify.input, None)
        case "regress_log":
            regress = prediction_log.regress_log.request
            await inference.run_regress(session, regress.model_spec, regress.input, None)
        case None:
            return
        case kind:
            raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")


def read_records(file: Path) -> Iterator[bytes]:
    """Yield the records of a TFRecord file. Checksums are not verified; a cut-off file raises StatusError."""
    content = file.read_bytes()
    offset = 0
    while offset < len(content):
        header = content[offset : offset + LENGTH_BYTES]
        if len(header) < LENGTH_BYTES:
            raise StatusError(Code.DATA_LOSS, f"truncated record at {offset}")
        (length,) = struct.unpack("<Q", header)
        begin = offset + LENGTH_BYTES + CHECKSUM_BYTES
        if len(content) < begin + length + CHECKSUM_BYTES:
            raise StatusError(Code.DATA_LOSS, f"truncated record at {offset}")
        yield content[begin : begin + length]
        offset = begin + length + CHECKSUM_BYTES
