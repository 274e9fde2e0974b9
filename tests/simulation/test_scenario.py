from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tfserving_operator.simulation.scenario import Scenario, ScenarioError, read_scenario

ROOT = Path(__file__).resolve().parents[2]


def read(text: str, folder: Path) -> Scenario:
    file = folder / "scenario.yaml"
    file.write_text(text)
    return read_scenario(file)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert read("", tmp_path) == Scenario()


def test_fields_are_read(tmp_path: Path) -> None:
    it = read(
        """
        objective: {latency: 80ms, percent: 95}
        scraping: {intervalSeconds: 5, delaySeconds: 1, lossProbability: 0.02}
        loadBalancing: LeastLoaded
        pools:
          - name: gpu
            batchCost: {t0Micros: 4000, t1Micros: 300, t2Micros: 2}
            startUp: {image: {medianSeconds: 60, spread: 1.5}, modelLoad: {medianSeconds: 90}}
            nodes: {available: 2, most: 4}
        """,
        tmp_path,
    )
    assert it.objective is not None
    assert it.objective.percent == 95
    assert it.scraping.loss_probability == 0.02
    assert it.pools[0].batch_cost is not None
    assert it.pools[0].batch_cost.t2_micros == 2
    assert it.pools[0].start_up.image.spread == 1.5
    assert it.pools[0].nodes.most == 4


def test_nodes_that_can_be_added_alone_are_enough(tmp_path: Path) -> None:
    assert read("pools: [{name: a, nodes: {most: 2}}]", tmp_path).pools[0].nodes.most == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pools: [", "is not YAML"),
        ("seed: 2024-13-01", "is not YAML: .*month must be"),
        ("[" * 3000, "is not YAML: it is nested too deeply"),
        ("seed: 1\n---\nseed: 2", "has 2 documents: keep one"),
        ("a string", "cannot be used"),
        ("- a\n- list", "cannot be used"),
        ("latency: 50ms", "latency: there is no such field"),
        ("seed: 1\nseed: 2", "the key 'seed' stands 2 times"),
        ("[]", "cannot be used"),
        (
            "pools: [{name: a, nodes: {available: 5, most: 2}}]",
            r"pools\.0\.nodes: available is 5 and most 2: most counts",
        ),
        ("clientTimeout: 0s", "clientTimeout: clients that wait for no time get no answer"),
        ("pools: [{batchCost: {t0Micros: 1}}]", r"pools\.0\.name"),
        ("pools: [{name: a, batchCost: {}}]", r"t0Micros"),
        ("pools: [{name: a, startUp: {image: {medianSeconds: -1}}}]", "greater than or equal to 0"),
        ("pools: [{name: a, startUp: {image: {medianSeconds: 1, spread: 0.5}}}]", "spread"),
        ("objective: {latency: fast}", "latency"),
        ("scraping: {lossProbability: 1}", "less than 1"),
        ("scraping: {delaySeconds: 31}", "less than or equal to 30"),
        ("tickSeconds: 0", "tickSeconds"),
        ("seed: -1", "seed"),
        ("peakReplicas: .nan", "peakReplicas"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=words) as refused:
        read(text, tmp_path)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none\.yaml: No such file"):
        read_scenario(tmp_path / "none.yaml")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ScenarioError, match="not YAML"):
        read_scenario(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    "file", sorted((ROOT / "benchmarks/autoscaling/scenarios").glob("*.yaml")), ids=lambda f: f.stem
)
def test_the_benchmark_s_scenarios_are_some(file: Path) -> None:
    assert read_scenario(file) == Scenario.model_validate(yaml.safe_load(file.read_text())["scenario"])
