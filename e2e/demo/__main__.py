"""Brings the demonstration up or removes it: ``python -m e2e.demo up|down [--cluster embedded|current]``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from e2e.cluster.failures import EXPECTED, INTERRUPTED, sentence
from e2e.demo.current import CurrentCluster
from e2e.demo.embedded import EmbeddedCluster
from e2e.demo.scenario import run_demo
from e2e.demo.steps import Steps
from e2e.demo.target import DemoFailed, Target
from e2e.models import TrainedModel, TrainingFailed, load_trained_model, trained_digits


def main() -> int:
    """Run the wanted command; return the exit code."""
    options = _parsed_arguments()
    console = Console()
    target: Target = (
        EmbeddedCluster(options.name) if options.cluster == "embedded" else CurrentCluster(options.operator_image)
    )
    steps = Steps(console)
    try:
        if options.command == "up":
            _up(target, options.model, steps, console)
        else:
            _down(target, steps)
    except (DemoFailed, TrainingFailed, *EXPECTED) as error:
        console.print(f"\n{sentence(error)}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print(f"\nStopped. `make demo-down{target.make_arguments()}` removes what was made so far.")
        return INTERRUPTED
    return 0


def _up(target: Target, model_directory: Path | None, steps: Steps, console: Console) -> None:
    with steps.step("Prepare the cluster") as say:
        target.prepare(say)
    with steps.step("Train a model of handwritten digits") as say:
        model: TrainedModel = load_trained_model(model_directory) if model_directory else trained_digits(say)
    run_demo(target, model, steps, console)


def _down(target: Target, steps: Steps) -> None:
    with steps.step("Remove the demonstration") as say:
        target.remove(say)


def _parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["up", "down"])
    parser.add_argument("--cluster", choices=["embedded", "current"], default="embedded")
    parser.add_argument("--name", default="demo", help="the embedded cluster's name (default: %(default)s)")
    parser.add_argument(
        "--operator-image",
        default=os.environ.get("OPERATOR_IMAGE", "tfserving-operator:dev"),
        help="the operator's image on the current cluster (default: OPERATOR_IMAGE, else %(default)s)",
    )
    parser.add_argument(
        "--model",
        type=_directory,
        default=os.environ.get("DEMO_MODEL") or None,
        help="a directory that `python -m e2e.models` made elsewhere (default: DEMO_MODEL, else train it)",
    )
    return parser.parse_args()


def _directory(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a directory")
    return Path(text)


if __name__ == "__main__":
    sys.exit(main())
