from __future__ import annotations

from pathlib import Path

import yaml

from e2e.cluster.prometheus import default_config


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
