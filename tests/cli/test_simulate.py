from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from e2e.web_servers import served
from tfserving_operator.cli.__main__ import main

MANIFEST = """
apiVersion: tfserving.dev/v1alpha1
kind: ServedModel
metadata: {name: ranking, namespace: shop}
spec:
  models: [{name: m, source: {uri: "s3://models/m"}}]
  pools: [{name: cpu, cost: 0.5, replicas: {min: 1, max: 6}}]
  autoscaling: {mode: Recommend, objective: {latency: 68ms, percent: 99}}
"""
SCENARIO = """
pools:
  - name: cpu
    batchCost: {t0Micros: 10000}
    startUp: {image: {medianSeconds: 5}, modelLoad: {medianSeconds: 5}}
scraping: {intervalSeconds: 5}
"""
TRACE = "time_seconds,requests_per_second\n0,40\n300,40\n420,200\n600,200\n660,40\n900,40\n"
AGREED = {
    "share_within_objective", "replica_hours", "oracle_replica_hours", "scaling_actions", "worst_minute_share"
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("m.yaml", MANIFEST), ("s.yaml", SCENARIO), ("t.csv", TRACE)):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["simulate", *arguments], input=stdin)


def simulated(*arguments: str, stdin: str | None = None) -> Result:
    result = run("--trace", "t.csv", "--scenario", "s.yaml", *arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result


def refused(result: Result) -> str:
    """Return the one sentence that an error is."""
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    return lines[-1]


def test_json_has_all_policies_with_the_agreed_keys(folder: Path) -> None:
    document = json.loads(simulated("-o", "json", "m.yaml").stdout)
    assert list(document["policies"]) == ["Latency", "HPA", "KPA", "StaticPeak", "Oracle"]
    assert all(set(numbers) >= AGREED for numbers in document["policies"].values())
    assert document["trace"]["duration_seconds"] == 900
    assert document["scenario"]["objective_seconds"] == 0.068
    hpa = document["policies"]["HPA"]
    assert hpa["cost"] == pytest.approx(0.5 * hpa["replica_hours"])


def test_the_same_command_prints_the_same(folder: Path) -> None:
    assert simulated("-o", "json", "m.yaml").stdout == simulated("-o", "json", "m.yaml").stdout


def test_a_table_a_picture_and_what_was_assumed_are_printed(folder: Path) -> None:
    printed = simulated("m.yaml").stdout
    assert "WITHIN 68ms" in printed
    assert "StaticPeak" in printed
    assert "keeps the promise of 99% within 68ms" in printed
    assert "ready replicas" in printed
    assert "Assumed:" in printed
    assert "\x1b" not in printed


def test_policies_are_named_in_any_case_and_come_once(folder: Path) -> None:
    named = ("--policy", "hpa", "--policy", "ORACLE", "--policy", "HPA")
    document = json.loads(simulated(*named, "-o", "json", "m.yaml").stdout)
    assert list(document["policies"]) == ["HPA", "Oracle"]


def test_the_manifest_s_own_policy_is_among_the_default(folder: Path) -> None:
    (folder / "m.yaml").write_text(MANIFEST.replace("mode: Recommend", "mode: Auto, policy: Fixed"))
    assert "Fixed" in json.loads(simulated("-o", "json", "m.yaml").stdout)["policies"]


def test_the_manifest_may_come_from_standard_input(folder: Path) -> None:
    document = json.loads(simulated("--policy", "Oracle", "-o", "json", "-", stdin=MANIFEST).stdout)
    assert list(document["policies"]) == ["Oracle"]


def test_nothing_but_a_trace_and_a_manifest_is_needed(folder: Path) -> None:
    (folder / "m.yaml").write_text(MANIFEST[: MANIFEST.index("  pools:")])
    (folder / "t.csv").write_text("time_seconds,requests_per_second\n0,1\n60,2\n")
    result = run("--trace", "t.csv", "--policy", "Latency", "-o", "json", "m.yaml")
    assumptions = " ".join(json.loads(result.stdout)["scenario"]["assumptions"])
    for words in ("within 122ms", "no spec.autoscaling", "nothing bounds", "what a batch costs", "30 s to start"):
        assert words in assumptions


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_picture_is_written(folder: Path, suffix: str) -> None:
    simulated("--policy", "HPA", "--picture", f"p.{suffix}", "-o", "json", "m.yaml")
    begins = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert (folder / f"p.{suffix}").read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m.yaml"], "give either --trace FILE or --prometheus URL"),
        (["--trace", "t.csv", "--prometheus", "http://x", "m.yaml"], "give either --trace FILE or --prometheus URL"),
        (["--trace", "t.csv"], "Missing argument 'MANIFEST'"),
        (["--trace", "none.csv", "m.yaml"], "cannot read the trace none.csv: No such file"),
        (["--trace", "m.yaml", "m.yaml"], "m.yaml has no column"),
        (["--trace", "t.csv", "none.yaml"], "cannot read the manifest none.yaml: No such file"),
        (["--trace", "t.csv", "t.csv"], "there is no ServedModel in t.csv"),
        (["--trace", "t.csv", "--scenario", "none.yaml", "m.yaml"], "cannot read the scenario none.yaml"),
        (["--trace", "t.csv", "--scenario", "m.yaml", "m.yaml"], "the scenario m.yaml cannot be used"),
        (["--trace", "t.csv", "--policy", "Magic", "m.yaml"], "there is no policy 'Magic': choose from Latency, HPA"),
        (["--trace", "t.csv", "--name", "z", "m.yaml"], "there is no ServedModel z in m.yaml"),
        (["--trace", "t.csv", "-o", "xml", "m.yaml"], "'xml' is not one of 'table', 'json'"),
        (["--prometheus", "http://x", "--since", "a week", "m.yaml"], "write for example 90m, 36h or 7d"),
        (["--trace", "t.csv", "--since", "7d", "m.yaml"], "--since is for --prometheus and means nothing with --trace"),
        (["--trace", "t.csv", "--step", "60s", "m.yaml"], "--step is for --prometheus"),
        (["--trace", "t.csv", "--token-file", "x", "m.yaml"], "--token-file is for --prometheus"),
        (["--trace", "t.csv", "--namespace-label", "x", "m.yaml"], "--namespace-label is for --prometheus"),
        (["--trace", "t.csv", "--namespace", "test", "m.yaml"], "the ServedModel in m.yaml is of the namespace shop"),
        (["--prometheus", "x:9090", "m.yaml"], "--prometheus must begin with http:// or https://"),
        (["--prometheus", "http://x", "--namespace-label", "a-b", "m.yaml"], "not a label"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(folder: Path, arguments: list[str], words: str) -> None:
    assert words in refused(run(*arguments))


@pytest.mark.parametrize(
    ("path", "words"), [("p.jpg", "must end in one of .png, .svg, .pdf"), ("none/p.png", "No such file")]
)
def test_a_picture_that_cannot_be_written_is_named(folder: Path, path: str, words: str) -> None:
    arguments = ("--trace", "t.csv", "--scenario", "s.yaml", "--policy", "Oracle", "--picture", path, "m.yaml")
    sentence = refused(run(*arguments))
    assert f"cannot write the picture {path}" in sentence
    assert words in sentence


def test_a_trace_of_seconds_is_told_and_drawn_in_seconds(folder: Path) -> None:
    (folder / "t.csv").write_text("time_seconds,requests_per_second\n0,40\n30,40\n")
    printed = simulated("--policy", "Oracle", "m.yaml").stdout
    assert "t.csv: 30.0 seconds, 1,200 requests" in printed
    ticks = printed.splitlines()[-2].split()
    assert float(ticks[0]) == 0
    assert float(ticks[-1]) <= 30
    assert printed.splitlines()[-1].strip() == "seconds"


def test_what_goes_on_is_said_beside_what_is_printed(folder: Path) -> None:
    done = simulated("--policy", "Oracle", "-o", "json", "m.yaml")
    assert "replaying Oracle ..." in done.stderr
    assert json.loads(done.stdout)


def test_one_of_equal_names_is_chosen_by_namespace(folder: Path) -> None:
    (folder / "m.yaml").write_text(f"{MANIFEST}---{MANIFEST.replace('shop', 'test').replace('cpu', 'other')}")
    (folder / "s.yaml").write_text(SCENARIO.replace("cpu", "other"))
    chosen = ("--name", "ranking", "--namespace", "test", "--policy", "Oracle")
    assert "other" in simulated(*chosen, "-o", "json", "m.yaml").stdout


def test_help_names_every_option() -> None:
    printed = run("--help").output
    for option in ("trace", "prometheus", "since", "step", "token-file", "scenario", "policy", "picture", "output"):
        assert f"--{option}" in printed
    assert CliRunner().invoke(main, ["--help"]).output.count("simulate") == 1


def test_help_does_not_load_what_only_a_replay_needs() -> None:
    program = (
        "import sys; from click.testing import CliRunner; from tfserving_operator.cli.__main__ import main; "
        "assert CliRunner().invoke(main, ['simulate', '--help']).exit_code == 0; "
        "sys.exit(str([name for name in ('numpy', 'numba', 'matplotlib', 'rich') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


def test_without_the_extra_packages_it_says_how_to_get_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotext", None)
    assert "plotext must be installed: pip install 'tfserving-operator[simulate]'" in refused(run("m.yaml"))


async def test_the_own_load_is_read_from_prometheus(folder: Path) -> None:
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        fields = {name: str(value) for name, value in (await request.post()).items()}
        asked.append(fields)
        begin, end, step = (int(fields[name]) for name in ("start", "end", "step"))
        values = [[at, "40"] for at in range(begin, end + 1, step)]
        return web.json_response({"status": "success", "data": {"result": [{"metric": {}, "values": values}]}})

    app = web.Application()
    app.router.add_post("/api/v1/query_range", answer)
    async with served(app) as url:
        result = await asyncio.to_thread(
            run, "--prometheus", url, "--since", "30m", "--step", "30s", "--namespace", "other",
            "--scenario", "s.yaml", "--policy", "Oracle", "-o", "json", "m.yaml",
        )  # fmt: skip

    document = json.loads(result.stdout)
    assert document["trace"]["name"] == "other/ranking"
    assert document["trace"]["duration_seconds"] == pytest.approx(1800, abs=60)
    assert 'namespace="other"' in asked[0]["query"]
    assert 'tfserving_dev_servedmodel="ranking"' in asked[0]["query"]
    assert document["policies"]["Oracle"]["requests"] == pytest.approx(72_000, rel=0.05)


def test_prometheus_needs_a_name(folder: Path) -> None:
    (folder / "m.yaml").write_text(MANIFEST.replace("metadata: {name: ranking, namespace: shop}", ""))
    assert "no metadata.name" in refused(run("--prometheus", "http://127.0.0.1:1", "m.yaml"))


def test_prometheus_that_does_not_answer_is_named(folder: Path) -> None:
    assert "cannot be reached" in refused(run("--prometheus", "http://127.0.0.1:1", "m.yaml"))
