from __future__ import annotations

import re
from pathlib import Path

import yaml

from e2e.cluster.prometheus import default_config
from tfserving_operator.clients.promql import ScrapeLabels
from tfserving_operator.resources.names import POOL_LABEL, SERVED_MODEL_LABEL


def test_pods_are_found_through_the_apiserver_and_scraped_often() -> None:
    config = yaml.safe_load(default_config(Path("/some/kubeconfig"), interval_seconds=2))

    (job,) = config["scrape_configs"]
    assert config["global"]["scrape_interval"] == "2s"
    assert job["kubernetes_sd_configs"] == [{"role": "pod", "kubeconfig_file": "/some/kubeconfig"}]


def test_a_pods_own_labels_do_not_hide_its_name() -> None:
    """A pod may be labelled pod=…; its real name must win, so it is set after the pod's labels."""
    config = yaml.safe_load(default_config(Path("kubeconfig")))

    rules = config["scrape_configs"][0]["relabel_configs"]
    actions = [rule.get("action", rule.get("target_label")) for rule in rules]
    assert actions.index("labelmap") < actions.index("pod")
    assert actions.index("labelmap") < actions.index("namespace")


def test_targets_have_the_labels_by_which_autoscaling_knows_them() -> None:
    config = yaml.safe_load(default_config(Path("kubeconfig")))

    rules = config["scrape_configs"][0]["relabel_configs"]
    copied = {rule["target_label"]: rule["source_labels"] for rule in rules if "target_label" in rule}
    assert copied["namespace"] == ["__meta_kubernetes_namespace"]
    assert copied["pod"] == ["__meta_kubernetes_pod_name"]
    (labels,) = (re.compile(rule["regex"]) for rule in rules if rule.get("action") == "labelmap")
    for label in (SERVED_MODEL_LABEL, POOL_LABEL):
        discovered = "__meta_kubernetes_pod_label_" + re.sub(r"[^a-zA-Z0-9_]", "_", label)
        match = labels.fullmatch(discovered)
        assert match is not None
        assert match[1] in (ScrapeLabels().served_model, ScrapeLabels().pool)
