"""Settings of the operator's process: flags, or environment variables that begin with TFSERVING_OPERATOR_."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tfserving_operator.autoscaling.budget import FleetBudget
from tfserving_operator.clients.prometheus_endpoint import (
    PrometheusAddresses,
    PrometheusEndpoint,
    checked_url,
    load_addresses,
)
from tfserving_operator.clients.promql import ScrapeLabels, label_name
from tfserving_operator.telemetry import VERSION

LogFormat = Literal["json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]
Port = Annotated[int, Field(ge=0, le=65_535)]
Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
TargetLabel = Annotated[str, AfterValidator(label_name)]

_TIMEOUT_PER_TICK = 0.75
_LONGEST_DEFAULT_TIMEOUT_SECONDS = 1.5


class Settings(BaseSettings):
    """Kubernetes operator for fleets of TensorFlow Serving."""

    model_config = SettingsConfigDict(
        env_prefix="TFSERVING_OPERATOR_",
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        cli_prog_name="tfserving-operator",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    watch_namespaces: Annotated[tuple[Namespace, ...], NoDecode] = Field(
        default=(), description="Namespaces to look after, separated by commas; left out: all of them."
    )
    log_format: LogFormat = Field(default="json", description="Format of the log lines.")
    log_level: LogLevel = Field(default="info", description="Least severe log lines to write.")
    metrics_port: Port = Field(default=9090, description="Port of /metrics; 0 takes a free one.")
    health_port: Port = Field(default=8080, description="Port of /healthz and /readyz; 0 takes a free one.")
    concurrency: int = Field(default=8, ge=1, le=256, description="ServedModels reconciled at the same time.")
    resync_seconds: float = Field(
        default=300, ge=10, description="Every ServedModel is looked at again within this time, come what may."
    )
    fetcher_image: str = Field(
        default=f"tfserving-operator:{VERSION}",
        min_length=1,
        description="Image of the init containers that fetch models: the operator's own.",
    )
    model_status_interval_seconds: float = Field(
        default=15, ge=1, description="How often model servers are asked for their versions while nothing changes."
    )
    autoscaling_tick_seconds: float = Field(
        default=2.0, ge=0.5, le=60, description="How often the load is read and replicas are decided on."
    )
    fleet_max_replicas: int | None = Field(
        default=None, ge=1, description="Replicas of all ServedModels up to which autoscaling adds; left out: no bound."
    )
    fleet_max_devices: Annotated[dict[str, Annotated[int, Field(ge=0)]], NoDecode] = Field(
        default_factory=dict,
        description="Devices of all ServedModels up to which autoscaling adds, as nvidia.com/gpu=16, separated by "
        "commas; a resource that is left out has no bound.",
    )
    prometheus_url: str = Field(
        default="", description="Address of Prometheus, for trials; credentials and more are in the file."
    )
    prometheus_config_file: Path | None = Field(
        default=None, description="File with the addresses of Prometheus and their credentials, docs/prometheus.md."
    )
    prometheus_timeout_seconds: float = Field(  # type: ignore[assignment]  # None becomes a number as it is validated
        default=None,
        gt=0,
        le=60,
        description="Longest wait for an answer of Prometheus, shorter than a tick; left out: 0.75 of a tick, at most "
        "1.5 s.",
    )
    prometheus_scrape_interval_seconds: float = Field(
        default=15, ge=1, le=300, description="How often model servers are scraped, at most."
    )
    prometheus_max_sample_age_seconds: float | None = Field(
        default=None, gt=0, description="Older samples are not trusted; left out: 3 scrapes, at least 30 s."
    )
    prometheus_namespace_label: TargetLabel = Field(
        default="namespace", description="Label of targets with their namespace."
    )
    prometheus_served_model_label: TargetLabel = Field(
        default="tfserving_dev_servedmodel",
        description="Label of targets with the pod's label tfserving.dev/servedmodel.",
    )
    prometheus_pool_label: TargetLabel = Field(
        default="tfserving_dev_pool", description="Label of targets with the pod's label tfserving.dev/pool."
    )
    prometheus_pod_label: TargetLabel = Field(default="pod", description="Label of targets with the pod's name.")

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        # Each once: one that is watched twice would have all of its pods twice.
        return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))

    @field_validator("fleet_max_devices", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [pair.strip().partition("=") for pair in value.split(",") if pair.strip()]
        if not all(separator for _, separator, _ in pairs):
            raise ValueError("write resource=count, for example nvidia.com/gpu=16")
        return {resource.strip(): count.strip() for resource, _, count in pairs}

    @field_validator("log_format", "log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("prometheus_timeout_seconds", mode="before")
    @classmethod
    def _follow_the_tick(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None:
            return value
        # A tick that was refused is missing here, and its own error is enough.
        tick_seconds = info.data.get("autoscaling_tick_seconds", math.inf)
        return min(_LONGEST_DEFAULT_TIMEOUT_SECONDS, _TIMEOUT_PER_TICK * tick_seconds)

    @field_validator("prometheus_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        return checked_url(value) if value else value

    @field_validator("prometheus_config_file")
    @classmethod
    def _is_readable(cls, value: Path | None) -> Path | None:
        if value is not None:
            load_addresses(value)
        return value

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.metrics_port == self.health_port != 0:
            raise ValueError(f"metrics_port and health_port must differ, and both are {self.metrics_port}")
        return self

    @model_validator(mode="after")
    def _prometheus_is_usable(self) -> Self:
        if self.prometheus_url and self.prometheus_config_file:
            raise ValueError("prometheus_url and prometheus_config_file exclude each other: put the url into the file")
        if self.prometheus_timeout_seconds >= self.autoscaling_tick_seconds:
            raise ValueError(
                f"prometheus_timeout_seconds ({self.prometheus_timeout_seconds:g}) must be shorter than "
                f"autoscaling_tick_seconds ({self.autoscaling_tick_seconds:g}): lower the one or raise the other"
            )
        labels = self.scrape_labels()
        addresses = self.prometheus_addresses()
        for endpoint in filter(None, (addresses.default, *addresses.namespaces.values())):
            if taken := sorted(set(labels.of_target) & endpoint.matchers.keys()):
                raise ValueError(
                    f"prometheus_config_file: matchers must leave out {', '.join(taken)}: queries choose series by "
                    "these themselves"
                )
        return self

    def fleet_budget(self) -> FleetBudget:
        """Return what all ServedModels together may grow to."""
        return FleetBudget(replicas=self.fleet_max_replicas, devices=self.fleet_max_devices)

    def scrape_labels(self) -> ScrapeLabels:
        """Return the labels of targets; ValueError for what cannot be one."""
        return ScrapeLabels(
            namespace=self.prometheus_namespace_label,
            served_model=self.prometheus_served_model_label,
            pool=self.prometheus_pool_label,
            pod=self.prometheus_pod_label,
        )

    def prometheus_addresses(self) -> PrometheusAddresses:
        """Return where Prometheus is, as the file says it now; ValueError for what is wrong in it."""
        if self.prometheus_config_file is not None:
            return load_addresses(self.prometheus_config_file)
        if self.prometheus_url:
            return PrometheusAddresses(default=PrometheusEndpoint(url=self.prometheus_url))
        return PrometheusAddresses()


def unknown_variables(names: Iterable[str]) -> list[str]:
    """Return which of these environment variables look like settings and are none, such as misspelt ones."""
    prefix = str(Settings.model_config["env_prefix"])
    known = {f"{prefix}{name.upper()}" for name in Settings.model_fields}
    return sorted(name for name in names if name.upper().startswith(prefix) and name.upper() not in known)
