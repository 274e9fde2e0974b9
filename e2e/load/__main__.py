"""A load by hand: ``python -m e2e.cluster run -- python -m e2e.load URL --rate 20``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import time

from e2e.load.generator import LoadGenerator, Spacing
from e2e.load.record import LoadSummary

_REPORT_SECONDS = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Send until the time is over or Ctrl-C; print a line every few seconds."""
    options = _parser().parse_args(arguments)
    generator = LoadGenerator(
        options.url,
        requests_per_second=options.rate,
        spacing=options.spacing,
        max_in_flight=options.max_in_flight,
        timeout_seconds=options.timeout,
    )
    asyncio.run(_send(generator, options.seconds))
    print("all:", describe(generator.record.summary()))
    return 0


def describe(summary: LoadSummary) -> str:
    """Return a summary in one line."""
    quantiles = ", ".join(
        f"p{q * 100:.0f} < {summary.latency_quantile_micros(q) / 1e3:.1f} ms" for q in (0.5, 0.9, 0.99)
    )
    failures = ", ".join(f"{count} {cause}" for cause, count in summary.failures.items()) or "none failed"
    return f"{summary.arrived} due, {summary.ok} answered, {summary.pending} pending, {failures}; {quantiles}"


async def _send(generator: LoadGenerator, seconds: float | None) -> None:
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stopped.set)
    if seconds is not None:
        loop.call_later(seconds, stopped.set)
    reports = asyncio.create_task(_report(generator))
    await generator.run(stopped)
    reports.cancel()


async def _report(generator: LoadGenerator) -> None:
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        print(describe(generator.record.summary(time.monotonic() - _REPORT_SECONDS)), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.load", description=__doc__)
    parser.add_argument("url", help="http://SERVICE.NAMESPACE:8501/v1/models/MODEL:predict")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, help="how long; left out: until Ctrl-C")
    parser.add_argument("--spacing", type=Spacing, choices=list(Spacing), default=Spacing.POISSON)
    parser.add_argument("--max-in-flight", type=int, default=64, help="requests under way at the same time")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds that an answer may take")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
