"""One prediction through the Service, shown so that anyone can judge it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import tenacity
from rich.columns import Columns
from rich.console import RenderableType
from rich.panel import Panel

from e2e.models import Sample

TIMEOUT = httpx.Timeout(30.0, connect=3.0)
"""In seconds; a connection is tried again sooner than a prediction is given up."""
PROXY_DELAY_SECONDS = 15.0
"""A new endpoint is in the API before every node's proxy has heard of it."""


@dataclass(frozen=True)
class Answer:
    """What the model says of one image."""

    digit: int
    probability: float


@tenacity.retry(
    retry=tenacity.retry_if_exception_type((httpx.ConnectError, httpx.ConnectTimeout)),
    stop=tenacity.stop_after_delay(PROXY_DELAY_SECONDS),
    wait=tenacity.wait_fixed(0.2),
    reraise=True,
)
def predict(base_url: str, model: str, sample: Sample) -> Answer:
    """Ask the model at ``base_url`` over REST."""
    response = httpx.post(
        f"{base_url}/v1/models/{model}:predict",
        json={"instances": [{"images": list(map(float, sample.pixels))}]},
        timeout=TIMEOUT,
        trust_env=False,
    )
    response.raise_for_status()
    prediction: dict[str, Any] = response.json()["predictions"][0]
    digit = int(prediction["classes"])
    return Answer(digit=digit, probability=float(prediction["probabilities"][digit]))


def picture(sample: Sample, answer: Answer) -> RenderableType:
    """The image, the model's answer and the true label side by side."""
    verdict = "right" if answer.digit == sample.label else "wrong"
    words = (
        f"The model says      [bold]{answer.digit}[/bold]  ({answer.probability:.1%} sure)\n"
        f"The person wrote    [bold]{sample.label}[/bold]  so it is {verdict}\n\n"
        "[dim]An image of scikit-learn's digits\nthat was kept back from training.[/dim]"
    )
    return Columns([Panel(sample.picture(), expand=False), f"\n\n{words}"], padding=(0, 3))
