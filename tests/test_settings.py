"""Settings from environment and flags."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp

from tfserving_operator.settings import Settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TFSERVING_OPERATOR_{name.upper()}", raising=False)


def test_everything_has_a_default() -> None:
    settings = CliApp.run(Settings, cli_args=[])

    assert settings.watch_namespaces == ()
    assert (settings.health_port, settings.metrics_port) == (8080, 9090)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", ("a",)), ("a,b", ("a", "b")), (" a , b ,", ("a", "b")), ("", ())],
    ids=["one", "two", "spaces", "none"],
)
def test_namespaces_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TFSERVING_OPERATOR_WATCH_NAMESPACES", text)
    assert CliApp.run(Settings, cli_args=[]).watch_namespaces == expected

    monkeypatch.delenv("TFSERVING_OPERATOR_WATCH_NAMESPACES")
    assert CliApp.run(Settings, cli_args=[f"--watch-namespaces={text}"]).watch_namespaces == expected


def test_flag_goes_before_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFSERVING_OPERATOR_CONCURRENCY", "4")

    assert CliApp.run(Settings, cli_args=[]).concurrency == 4
    assert CliApp.run(Settings, cli_args=["--concurrency", "16"]).concurrency == 16


@pytest.mark.parametrize(
    ("name", "value"),
    [("LOG_FORMAT", "xml"), ("LOG_LEVEL", "loud"), ("CONCURRENCY", "0"), ("METRICS_PORT", "70000")],
)
def test_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TFSERVING_OPERATOR_{name}", value)

    with pytest.raises(ValidationError, match=name.lower()):
        CliApp.run(Settings, cli_args=[])
