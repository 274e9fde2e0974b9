"""``tfs simulate``: what would this autoscaling have done."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from tfserving_operator.cli.duration import DurationType

if TYPE_CHECKING:
    from tfserving_operator.cli.manifest import Manifest
    from tfserving_operator.simulation.comparison import Comparison, PolicyName
    from tfserving_operator.simulation.trace import Trace

_NEEDED = ("matplotlib", "numba", "numpy", "plotext", "rich")
_WIDEST = 120


class UserError(click.ClickException):
    """What the user can put right; ends with exit code 2 and one sentence."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class PrometheusOptions:
    """What ``--prometheus`` and the options around it say."""

    url: str
    token_file: Path | None
    since_seconds: int
    step_seconds: int
    namespace: str | None
    namespace_label: str
    served_model_label: str


@click.command()
@click.argument("manifest", metavar="MANIFEST")
@click.option(
    "--trace", "trace_file", metavar="FILE", type=click.Path(path_type=Path),
    help="CSV file with the header time_seconds,requests_per_second.",
)  # fmt: skip
@click.option("--prometheus", "url", metavar="URL", help="Read the ServedModel's own load from this Prometheus.")
@click.option(
    "--since", default="7d", show_default=True, type=DurationType(), help="With --prometheus: how far to look back."
)
@click.option("--step", default="60s", show_default=True, type=DurationType(), help="With --prometheus: a row each.")
@click.option(
    "--namespace",
    help="Which ServedModel, where MANIFEST has several. With --prometheus also where it runs; left out: the "
    "manifest's, or default.",
)
@click.option(
    "--token-file", metavar="FILE", type=click.Path(path_type=Path), help="With --prometheus: a bearer token."
)
@click.option("--namespace-label", default="namespace", help="With --prometheus: targets' label of their namespace.")
@click.option(
    "--served-model-label", default="tfserving_dev_servedmodel",
    help="With --prometheus: label of targets with the pod's label tfserving.dev/servedmodel.",
)  # fmt: skip
@click.option(
    "--scenario", "scenario_file", metavar="FILE", type=click.Path(path_type=Path),
    help="YAML file: what replicas carry, how long they take to start, how often they are scraped.",
)  # fmt: skip
@click.option(
    "--policy", "policies", metavar="NAME", multiple=True,
    help="Latency, HPA, KPA, Fixed, StaticPeak or Oracle; as often as wanted. Left out: all but Fixed, and the "
    "manifest's own.",
)  # fmt: skip
@click.option("--name", help="Which ServedModel, where MANIFEST has several.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--picture", metavar="FILE", type=click.Path(path_type=Path), help="Write a picture: .png, .svg or .pdf.")
def simulate(
    manifest: str,
    trace_file: Path | None,
    url: str | None,
    since: int,
    step: int,
    namespace: str | None,
    token_file: Path | None,
    namespace_label: str,
    served_model_label: str,
    scenario_file: Path | None,
    policies: tuple[str, ...],
    name: str | None,
    output: str,
    picture: Path | None,
) -> None:
    """Replay a load against the autoscaling in MANIFEST: what would it have done last week?

    MANIFEST is a file with a ServedModel, or - for standard input. The load is a trace or comes from Prometheus.
    docs/simulate.md has the files' formats, and says what is simulated and what is not.
    """
    _check_installation()
    if (trace_file is None) == (url is None):
        raise UserError("give either --trace FILE or --prometheus URL")
    if url is None:
        _check_no_options_of_prometheus()
    if picture is not None:
        _check_picture(picture)
    history = None if url is None else PrometheusOptions(
        url=url,
        token_file=token_file,
        since_seconds=since,
        step_seconds=step,
        namespace=namespace,
        namespace_label=namespace_label,
        served_model_label=served_model_label,
    )  # fmt: skip
    comparison = _compared(manifest, name, namespace, trace_file, history, scenario_file, policies)
    if picture is not None:
        _write_picture(comparison, picture)
    if output == "json":
        from tfserving_operator.simulation.report import as_json

        click.echo(as_json(comparison))
    else:
        _print(comparison)


def _check_installation() -> None:
    missing = [package for package in _NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} must be installed: pip install 'tfserving-operator[simulate]'")


def _check_no_options_of_prometheus() -> None:
    """Refuse with --trace what would have no effect; --namespace has one, as it chooses from several ServedModels."""
    context = click.get_current_context()
    for name in ("since", "step", "token_file", "namespace_label", "served_model_label"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UserError(
                f"--{name.replace('_', '-')} is for --prometheus and means nothing with --trace: leave it out"
            )


def _check_picture(path: Path) -> None:
    """Refuse a format before a replay of minutes."""
    from tfserving_operator.simulation.picture import PictureError, check_format

    try:
        check_format(path)
    except PictureError as error:
        raise UserError(str(error)) from error


def _compared(
    manifest_file: str,
    name: str | None,
    namespace: str | None,
    trace_file: Path | None,
    history: PrometheusOptions | None,
    scenario_file: Path | None,
    policies: tuple[str, ...],
) -> Comparison:
    from tfserving_operator.cli.manifest import ManifestError, read_manifest
    from tfserving_operator.simulation.comparison import compare
    from tfserving_operator.simulation.prepare import build_world, with_few_requests
    from tfserving_operator.simulation.scenario import Scenario, ScenarioError, read_scenario
    from tfserving_operator.simulation.trace import TraceError, read_trace

    try:
        manifest = read_manifest(manifest_file, name=name, namespace=namespace)
        if history is None and namespace is not None and manifest.namespace not in (None, namespace):
            raise UserError(f"the ServedModel in {manifest_file} is of the namespace {manifest.namespace}")
        names = _chosen(policies, manifest)
        scenario = read_scenario(scenario_file) if scenario_file is not None else Scenario()
        if trace_file is not None:
            trace = read_trace(trace_file)
        else:
            assert history is not None  # noqa: S101 - one of both was given
            trace = _history(history, manifest)
        trace = with_few_requests(trace, scenario)
        _tell("preparing (the first time, the simulator is compiled: about ten seconds)")
        world = build_world(manifest.spec, scenario, trace)
        compared = compare(trace, world, names, on_begin=lambda policy: _tell(f"replaying {policy}"))
        return replace(compared, assumptions=(*manifest.left_out, *compared.assumptions))
    except (ManifestError, ScenarioError, TraceError) as error:
        raise UserError(str(error)) from error


def _chosen(policies: tuple[str, ...], manifest: Manifest) -> list[PolicyName]:
    from tfserving_operator.simulation.comparison import PolicyName

    if not policies:
        autoscaling = manifest.spec.autoscaling
        own = PolicyName(autoscaling.policy.value) if autoscaling is not None else PolicyName.LATENCY
        return [name for name in PolicyName if name is not PolicyName.FIXED or name is own]
    by_lower = {name.value.lower(): name for name in PolicyName}
    chosen = []
    for word in policies:
        policy = by_lower.get(word.strip().lower())
        if policy is None:
            raise UserError(f"there is no policy {word!r}: choose from {', '.join(PolicyName)}")
        chosen.append(policy)
    return chosen


def _history(options: PrometheusOptions, manifest: Manifest) -> Trace:
    from pydantic import ValidationError

    from tfserving_operator.clients.prometheus_endpoint import PrometheusEndpoint
    from tfserving_operator.clients.promql import ScrapeLabels
    from tfserving_operator.simulation.prometheus_trace import HistoryRequest, read_prometheus_trace

    if manifest.name is None:
        raise UserError("the manifest has no metadata.name, by which Prometheus knows the ServedModel: add it")
    try:
        endpoint = PrometheusEndpoint(url=options.url, bearer_token_file=options.token_file)
    except ValidationError as error:
        raise UserError(f"--prometheus {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
    try:
        labels = ScrapeLabels(namespace=options.namespace_label, served_model=options.served_model_label)
    except ValueError as error:
        raise UserError(str(error)) from error
    end = datetime.fromtimestamp(time.time(), tz=UTC)
    request = HistoryRequest(
        namespace=options.namespace or manifest.namespace or "default",
        name=manifest.name,
        begin=end - timedelta(seconds=options.since_seconds),
        end=end,
        step_seconds=options.step_seconds,
        labels=labels,
    )
    _tell(f"reading {request.namespace}/{request.name} from Prometheus")
    return read_prometheus_trace(endpoint, request)


def _write_picture(comparison: Comparison, path: Path) -> None:
    from tfserving_operator.simulation.picture import PictureError, write_picture

    try:
        write_picture(comparison, path)
    except PictureError as error:
        raise UserError(str(error)) from error


def _print(comparison: Comparison) -> None:
    from rich.console import Console

    from tfserving_operator.simulation.picture import draw_in_terminal
    from tfserving_operator.simulation.report import as_table

    console = Console(highlight=False)
    console.print(as_table(comparison))
    console.print()
    console.print(draw_in_terminal(comparison, columns=min(_WIDEST, console.width)), markup=False, no_wrap=True)


def _tell(what: str) -> None:
    """Say what goes on, to people who wait and to logs."""
    click.echo(f"{what} ...", err=True)
