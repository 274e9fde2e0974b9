"""Scenarios: what a trace meets. A YAML file; ``docs/simulate.md`` is its reference."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from tfserving_operator.api.autoscaling import Objective
from tfserving_operator.api.server import Duration, duration_micros
from tfserving_operator.simulation.yaml_text import NotYamlError, fault_words, yaml_documents

Seconds = Annotated[float, Field(ge=0, le=86_400)]
Micros = Annotated[float, Field(ge=0, le=1e9)]


class ScenarioError(ValueError):
    """A scenario that cannot be used; the message says where and what to write instead."""


class ScenarioModel(BaseModel):
    """What all parts of a scenario share: camelCase in the file, frozen in memory, no unknown fields."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


class LoadBalancing(StrEnum):
    """Which ready replica gets a request."""

    RANDOM = "Random"
    LEAST_LOADED = "LeastLoaded"


class NoiseDistribution(StrEnum):
    """How service times vary."""

    LOG_NORMAL = "LogNormal"
    EXPONENTIAL = "Exponential"


class VaryingTime(ScenarioModel):
    """A time that varies: log-normal, by its median and its spread."""

    median_seconds: Seconds = Field(description="Half of the times are below.")
    spread: Annotated[float, Field(ge=1, le=10)] = Field(
        default=1.0,
        description="Two thirds of the times are between median / spread and median x spread. 1: always the median.",
    )


class BatchCost(ScenarioModel):
    """Service time of a batch of b examples: t0 + t1 b + t2 b^2 microseconds."""

    t0_micros: Micros = Field(description="What every batch costs.")
    t1_micros: Micros = Field(default=0.0, description="What each example adds.")
    t2_micros: Micros = Field(default=0.0, description="What each pair of examples adds.")


class ServiceTimeNoise(ScenarioModel):
    """How the service time of equal batches varies, around the same mean."""

    distribution: NoiseDistribution = Field(
        default=NoiseDistribution.LOG_NORMAL, description="LogNormal or Exponential."
    )
    coefficient_of_variation: Annotated[float, Field(ge=0, le=3)] = Field(
        default=0.1, description="Standard deviation / mean, for LogNormal. 0: always the same."
    )


class StartUp(ScenarioModel):
    """From the decision to the first request of a replica that has a node."""

    image: VaryingTime = Field(
        default=VaryingTime(median_seconds=10, spread=1.2), description="Scheduling and pulling the image."
    )
    model_load: VaryingTime = Field(
        default=VaryingTime(median_seconds=20, spread=1.2),
        description="Fetching and loading the model, warm-up, readiness. After a crash, this is all there is.",
    )


class Nodes(ScenarioModel):
    """Where replicas find room."""

    available: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=10_000, description="Replicas that nodes which are there have room for."
    )
    most: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=10_000, description="Replicas that there is room for with all nodes that can be added."
    )
    new_node: VaryingTime = Field(
        default=VaryingTime(median_seconds=120, spread=1.2),
        description="How long a replica beyond the available ones waits for its node.",
    )

    @model_validator(mode="after")
    def _no_fewer_than_there_are(self) -> Self:
        if "available" in self.model_fields_set and self.most < self.available:
            raise ValueError(f"available is {self.available} and most {self.most}: most counts the available ones too")
        return self


class PoolScenario(ScenarioModel):
    """How the replicas of one pool behave."""

    name: str = Field(description="Name of the pool in the manifest.")
    batch_cost: BatchCost | None = Field(
        default=None,
        description="Service time of a batch. Left out: made so that the trace's peak needs 80% of the most replicas.",
    )
    service_time_noise: ServiceTimeNoise = Field(
        default_factory=ServiceTimeNoise, description="How service times vary."
    )
    max_batch_size: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, description="Most examples in a batch. Left out: the manifest's; 1 without batching."
    )
    batch_timeout_micros: Micros | None = Field(
        default=None, description="How long a batch waits to fill. Left out: the manifest's."
    )
    parallel_batches: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, description="Batches that run at once: devices or threads. Left out: the manifest's, else 1."
    )
    max_enqueued: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="Requests that may wait on a replica; what comes on top is refused. Left out: what the manifest's "
        "batching allows; without batching, 10 seconds' worth.",
    )
    start_up: StartUp = Field(default_factory=StartUp, description="How long a replica takes to start.")
    nodes: Nodes = Field(default_factory=Nodes, description="Room for replicas.")
    crashes_per_replica_day: Annotated[float, Field(ge=0, le=10_000)] = Field(
        default=0.0, description="How often a ready replica crashes; its requests are lost and it starts again."
    )


class Scraping(ScenarioModel):
    """How Prometheus sees the servers."""

    interval_seconds: Annotated[float, Field(ge=1, le=300)] = Field(default=15.0, description="Time between scrapes.")
    delay_seconds: Annotated[float, Field(ge=0, le=30)] = Field(
        default=0.5, description="From a scrape until queries return it."
    )
    loss_probability: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of scrapes that fail. The replica is not measured until the next one."
    )


class Scenario(ScenarioModel):
    """What a trace meets."""

    objective: Objective | None = Field(default=None, description="Left out: the manifest's.")
    pools: list[PoolScenario] = Field(
        default_factory=list, description="By pool of the manifest. Pools that are left out get all defaults."
    )
    load_balancing: LoadBalancing = Field(
        default=LoadBalancing.RANDOM, description="Random, as kube-proxy does, or LeastLoaded."
    )
    scraping: Scraping = Field(default_factory=Scraping, description="How Prometheus sees the servers.")
    client_timeout: Duration = Field(
        default="10s", description="When clients give up. The server does the work all the same."
    )
    requests_per_arrival: Annotated[float, Field(ge=1, le=1000)] = Field(
        default=1.0, description="Mean number of requests that arrive together (geometric); above 1: bursty clients."
    )
    peak_replicas: Annotated[float, Field(gt=0, le=10_000)] | None = Field(
        default=None,
        description="Replicas that the trace's peak needs, where batchCost is left out. "
        "Left out: 80% of the most that the manifest allows.",
    )
    drain_seconds: Seconds | None = Field(
        default=None, description="How long a replica that is given up lives on. Left out: server.drainSeconds."
    )
    tick_seconds: Annotated[float, Field(ge=0.5, le=60)] = Field(default=2.0, description="Time between decisions.")
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(
        default=1, description="Of all that is random; the same seed gives the same numbers."
    )

    @field_validator("client_timeout")
    @classmethod
    def _some_time(cls, timeout: str) -> str:
        if duration_micros(timeout) == 0:
            raise ValueError("clients that wait for no time get no answer: write for example 10s")
        return timeout


def read_scenario(path: Path) -> Scenario:
    """Return the scenario in ``path``.

    Raises:
        ScenarioError: The file is missing or not a scenario.
    """
    try:
        documents = yaml_documents(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ScenarioError(f"cannot read the scenario {path}: {error.strerror or error}") from error
    except (NotYamlError, UnicodeDecodeError) as error:
        raise ScenarioError(f"the scenario {path} is not YAML: {error}") from error
    if len(documents) > 1:
        raise ScenarioError(f"the scenario {path} has {len(documents)} documents: keep one")
    content = documents[0] if documents else None
    if isinstance(content, dict) and set(content) == {"scenario", "manifest"}:
        content = content["scenario"]  # A case of the benchmark; the manifest is given by itself here.
    try:
        return Scenario.model_validate({} if content is None else content)
    except ValidationError as error:
        raise ScenarioError(f"the scenario {path} cannot be used: {_faults(error)}") from error


def _faults(error: ValidationError) -> str:
    """Say of each fault where it is and what is wrong."""
    return "; ".join(f"{where}: {what}" if where else what for where, what in fault_words(error))
