"""What tests may change in a running server, and what a model's own directory says about its behaviour."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from e2e.modelserver.file_access import is_there
from e2e.modelserver.statuses import Code

KNOBS_VARIABLE = "STANDIN_KNOBS"
ADMIN_PORT_VARIABLE = "STANDIN_ADMIN_PORT"
BEHAVIOUR_FILE = Path("assets.extra") / "standin.json"

Polynomial = tuple[float, ...]
Number = TypeVar("Number", int, float)


class Freeze(Enum):
    """What is accepted and never answered."""

    NOTHING = ""
    PREDICTIONS = "predictions"
    EVERYTHING = "everything"


class KnobError(ValueError):
    """A knob that does not exist or a value that it cannot take."""


@dataclass(frozen=True)
class Knobs:
    """Settings of a whole server. ``None`` leaves a choice to the model's own directory."""

    cost_micros: Polynomial | None = None
    """Coefficients of the time that a batch of b rows takes on a device: c0 + c1*b + c2*b^2 ..."""
    devices: int | None = None
    """Batches that run at the same time, over all models."""
    cost_factor: float = 1.0
    """Multiplies every cost: a slow node, a noisy neighbour."""
    gpu_missing: bool = False
    """The GPU is gone: models that require one do not load, others run on the CPU."""
    gpu_missing_cost_factor: float = 20.0
    """How much dearer a batch is on the CPU."""
    error_rate: float = 0.0
    """Part of the runs that fails, spread evenly: 0.25 is every fourth."""
    error_code: Code = Code.INTERNAL
    error_message: str = "injected by a knob"
    freeze: Freeze = Freeze.NOTHING
    fail_loads: int = 0
    """How many of the next load attempts fail; -1: all."""
    fail_load_message: str = "injected by a knob"
    load_delay_seconds: float = 0.0
    """Added to every load attempt."""
    leak_bytes_per_request: int = 0
    """Memory taken at every run and never given back."""

    def merged_with(self, changes: Mapping[str, Any]) -> Knobs:
        """Return these knobs with ``changes``, a JSON object, applied."""
        known = {knob.name: getattr(self, knob.name) for knob in fields(self)}
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise KnobError(f"unknown knobs: {', '.join(unknown)}; there are: {', '.join(known)}")
        return replace(self, **{name: _converted(name, value) for name, value in changes.items()})

    def as_json(self) -> dict[str, Any]:
        values = {knob.name: getattr(self, knob.name) for knob in fields(self)}
        return values | {"error_code": self.error_code.name, "freeze": self.freeze.value}


def knobs_from_environment(environment: Mapping[str, str]) -> Knobs:
    """Return the knobs that ``STANDIN_KNOBS`` asks for."""
    text = environment.get(KNOBS_VARIABLE, "")
    return Knobs().merged_with(json.loads(text)) if text else Knobs()


def _converted(name: str, value: Any) -> Any:
    match name:
        case "error_code":
            return _error_code(value)
        case "freeze":
            return Freeze(value)
        case "cost_micros":
            return None if value is None else tuple(float(coefficient) for coefficient in value)
        case "devices":
            return None if value is None else _at_least(name, int(value), 1)
        case "gpu_missing":
            return bool(value)
        case "error_message" | "fail_load_message":
            return str(value)
        case "fail_loads":
            return _at_least(name, int(value), -1)
        case "leak_bytes_per_request":
            return _at_least(name, int(value), 0)
        case _:
            return _at_least(name, float(value), 0)


def _error_code(name: Any) -> Code:
    if str(name) not in Code.__members__ or name == Code.OK.name:
        raise KnobError(f"no such error code: {name}")
    return Code[name]


def _at_least(name: str, value: Number, least: Number) -> Number:
    if value < least:
        raise KnobError(f"{name} must be at least {least}; was {value}")
    return value


@dataclass(frozen=True)
class Behaviour:
    """What a version's ``assets.extra/standin.json`` says; every field may be left out."""

    load_memory_bytes: int = 0
    """Memory touched at load and kept while loaded."""
    load_seconds: float = 0.0
    cost_micros: Polynomial = (1000.0,)
    devices: int | None = None
    """Batches of this model at the same time, apart from other models; None: the server's common devices."""
    fail_load: str = ""
    """A message makes every load fail with it."""
    requires_gpu: bool = False
    fill_value: float = 0.0
    """What outputs that echo no input hold: tells versions apart in answers."""
    echo: bool = True
    """An output with the type and shape of an input returns it."""


def read_behaviour(version_path: Path) -> Behaviour:
    """Return the behaviour of the version in ``version_path``; defaults when it says nothing."""
    file = version_path / BEHAVIOUR_FILE
    if not is_there(file):
        return Behaviour()
    values: dict[str, Any] = json.loads(file.read_text())
    known = {name.name for name in fields(Behaviour)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise KnobError(f"{BEHAVIOUR_FILE}: unknown fields: {', '.join(unknown)}")
    return Behaviour(**{name: _converted_behaviour(name, value) for name, value in values.items()})


def _converted_behaviour(name: str, value: Any) -> Any:
    match name:
        case "fail_load":
            return str(value)
        case "requires_gpu" | "echo":
            return bool(value)
        case "load_memory_bytes":
            return _at_least(name, int(value), 0)
        case "load_seconds":
            return _at_least(name, float(value), 0)
        case "fill_value":
            return float(value)
        case _:
            return _converted(name, value)


def evaluate(polynomial: Polynomial, batch_size: int) -> float:
    """Return the cost in microseconds of a batch of ``batch_size`` rows."""
    return sum(coefficient * float(batch_size**power) for power, coefficient in enumerate(polynomial))
