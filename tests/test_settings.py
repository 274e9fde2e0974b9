"""Settings from environment and flags."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp

from tfserving_operator.__main__ import main
from tfserving_operator.settings import Settings, unknown_variables


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
    [("a", ("a",)), ("a,b", ("a", "b")), (" a , b ,", ("a", "b")), ("", ()), ("b,a, b", ("b", "a"))],
    ids=["one", "two", "spaces", "none", "twice"],
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
    [
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "loud"),
        ("CONCURRENCY", "0"),
        ("METRICS_PORT", "70000"),
        ("WATCH_NAMESPACES", "A_B"),
        ("WATCH_NAMESPACES", "a" * 64),
        ("PROMETHEUS_POD_LABEL", "__pod"),
    ],
)
def test_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TFSERVING_OPERATOR_{name}", value)

    with pytest.raises(ValidationError, match=name.lower()):
        CliApp.run(Settings, cli_args=[])


def test_an_address_of_prometheus_is_enough() -> None:
    settings = CliApp.run(Settings, cli_args=["--prometheus-url=http://prometheus:9090"])

    endpoint = settings.prometheus_addresses().endpoint_of("any")
    assert endpoint is not None
    assert endpoint.url == "http://prometheus:9090"
    assert settings.scrape_labels().pool == "tfserving_dev_pool"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PROMETHEUS_URL", "prometheus:9090", "must begin with http"),
        ("PROMETHEUS_CONFIG_FILE", "/does/not/exist", "prometheus_config_file(.|\\s)*No such file"),
        ("PROMETHEUS_POOL_LABEL", "a-b", "not a label"),
        ("PROMETHEUS_POOL_LABEL", "pod", "must differ"),
        ("PROMETHEUS_TIMEOUT_SECONDS", "0", "greater than 0"),
    ],
)
def test_wrong_prometheus_settings_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"TFSERVING_OPERATOR_{name}", value)
    with pytest.raises(ValidationError, match=words):
        CliApp.run(Settings, cli_args=[])


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(ValidationError) as refused:
        CliApp.run(Settings, cli_args=["--prometheus-url=http://me:pass-word@host"])
    assert all("pass-word" not in problem["msg"] for problem in refused.value.errors())


@pytest.mark.parametrize("label", ["namespace", "pod"])
def test_series_are_not_chosen_by_what_the_queries_choose_them_by(tmp_path: Path, label: str) -> None:
    file = tmp_path / "prometheus.yaml"
    file.write_text(f"namespaces: {{team: {{url: 'http://p', matchers: {{{label}: x}}}}}}")
    with pytest.raises(ValidationError, match=f"matchers must leave out {label}"):
        CliApp.run(Settings, cli_args=[f"--prometheus-config-file={file}"])


# The process


def test_metrics_and_probes_have_ports_of_their_own() -> None:
    with pytest.raises(ValidationError, match="metrics_port and health_port must differ"):
        CliApp.run(Settings, cli_args=["--metrics-port=9090", "--health-port=9090"])
    assert CliApp.run(Settings, cli_args=["--metrics-port=0", "--health-port=0"]).metrics_port == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--prometheus-config-file=/nope"], "prometheus_config_file: /nope: No such file or directory"),
        (["--prometheus-url=p"], "prometheus_url: must begin with http:// or https:// and name a host"),
        (["--health-port=1", "--metrics-port=1"], "metrics_port and health_port must differ, and both are 1"),
    ],
)
def test_the_process_says_which_setting_is_wrong_and_nothing_of_how_it_was_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["tfserving-operator", *flags])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == f"tfserving-operator: {words}\n"


def test_a_misspelt_variable_is_told_apart_from_settings_and_from_what_is_not_ours() -> None:
    names = ["TFSERVING_OPERATOR_LOG_LEVL", "TFSERVING_OPERATOR_LOG_LEVEL", "tfserving_operator_log_format", "PATH"]
    assert unknown_variables(names) == ["TFSERVING_OPERATOR_LOG_LEVL"]


# Autoscaling


def test_without_bounds_the_fleet_may_grow() -> None:
    assert CliApp.run(Settings, cli_args=[]).fleet_budget().is_unlimited


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nvidia.com/gpu=16", {"nvidia.com/gpu": 16}),
        (" nvidia.com/gpu = 16 , google.com/tpu=0 ,", {"nvidia.com/gpu": 16, "google.com/tpu": 0}),
        ("", {}),
    ],
    ids=["one", "two with spaces", "none"],
)
def test_devices_of_the_fleet_are_pairs_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: dict[str, int]
) -> None:
    monkeypatch.setenv("TFSERVING_OPERATOR_FLEET_MAX_DEVICES", text)
    assert CliApp.run(Settings, cli_args=[]).fleet_budget().devices == expected

    monkeypatch.delenv("TFSERVING_OPERATOR_FLEET_MAX_DEVICES")
    assert CliApp.run(Settings, cli_args=[f"--fleet-max-devices={text}"]).fleet_budget().devices == expected


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FLEET_MAX_DEVICES", "nvidia.com/gpu", "write resource=count"),
        ("FLEET_MAX_DEVICES", "nvidia.com/gpu=many", "valid integer"),
        ("FLEET_MAX_DEVICES", "nvidia.com/gpu=-1", "greater than or equal to 0"),
        ("FLEET_MAX_REPLICAS", "0", "greater than or equal to 1"),
        ("AUTOSCALING_TICK_SECONDS", "0.1", "greater than or equal to 0.5"),
    ],
)
def test_wrong_bounds_of_autoscaling_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"TFSERVING_OPERATOR_{name}", value)
    with pytest.raises(ValidationError, match=words):
        CliApp.run(Settings, cli_args=[])


@pytest.mark.parametrize(("timeout", "tick"), [("2", "2"), ("1.5", "1"), ("1.5", "1.5")])
def test_an_answer_of_prometheus_may_not_take_longer_than_a_tick(timeout: str, tick: str) -> None:
    with pytest.raises(ValidationError, match="must be shorter than autoscaling_tick_seconds"):
        CliApp.run(Settings, cli_args=[f"--prometheus-timeout-seconds={timeout}", f"--autoscaling-tick-seconds={tick}"])


@pytest.mark.parametrize(
    ("tick", "expected"),
    [("0.5", 0.375), ("1", 0.75), ("1.5", 1.125), ("2", 1.5), ("10", 1.5)],
)
def test_the_time_for_an_answer_of_prometheus_follows_the_tick(
    monkeypatch: pytest.MonkeyPatch, tick: str, expected: float
) -> None:
    monkeypatch.setenv("TFSERVING_OPERATOR_AUTOSCALING_TICK_SECONDS", tick)
    assert CliApp.run(Settings, cli_args=[]).prometheus_timeout_seconds == expected


def test_a_time_for_an_answer_that_is_set_does_not_follow_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFSERVING_OPERATOR_PROMETHEUS_TIMEOUT_SECONDS", "0.9")
    assert CliApp.run(Settings, cli_args=["--autoscaling-tick-seconds=1"]).prometheus_timeout_seconds == 0.9


@pytest.mark.parametrize("wrong", ["--autoscaling-tick-seconds=0.1", "--concurrency=0"])
def test_a_wrong_setting_is_the_only_one_complained_about(wrong: str) -> None:
    with pytest.raises(ValidationError) as refused:
        CliApp.run(Settings, cli_args=[wrong])
    assert refused.value.error_count() == 1
