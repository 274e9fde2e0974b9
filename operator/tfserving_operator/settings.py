"""Settings of the operator's process: flags, or environment variables that begin with TFSERVING_OPERATOR_."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tfserving_operator.telemetry import VERSION

LogFormat = Literal["json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]
Port = Annotated[int, Field(ge=0, le=65_535)]


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

    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
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

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @field_validator("log_format", "log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value
