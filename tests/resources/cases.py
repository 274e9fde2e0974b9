"""Specs whose children are kept as golden files: one idea each."""

from __future__ import annotations

from typing import Any

from tfserving_operator.api.servedmodel import ObjectMeta, ServedModelSpec

METADATA = ObjectMeta(
    name="digits",
    namespace="models",
    uid="11111111-2222-3333-4444-555555555555",
    labels={"app.kubernetes.io/instance": "from-git"},
    annotations={"argocd.argoproj.io/tracking-id": "app:tfserving.dev/ServedModel:models/digits"},
)

FETCHED = {"name": "digits", "source": {"uri": "s3://bucket/digits"}}

CASES: dict[str, dict[str, Any]] = {
    "minimal": {"models": [FETCHED]},
    "gpu_with_cpu_overflow": {
        "models": [FETCHED | {"source": {"uri": "s3://bucket/digits", "credentials": {"secretName": "s3"}}}],
        "replicas": 3,
        "batching": {"maxBatchSize": 32, "batchTimeout": "5ms", "allowedBatchSizes": [1, 8, 32]},
        "pools": [
            {
                "name": "gpu",
                "accelerator": {"count": 2, "memoryFraction": 0.8},
                "replicas": {"max": 2},
                "resources": {"limits": {"cpu": "8", "memory": "16Gi"}},
                "server": {"image": "tensorflow/serving:2.20.0-gpu", "xla": {"gpu": True}},
                "scheduling": {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]},
                "updateStrategy": {"maxSurge": 0, "maxUnavailable": 1},
            },
            {"name": "cpu", "resources": {"limits": {"cpu": "1500m"}}},
        ],
    },
    "many_models_from_volumes": {
        "models": [
            {
                "name": "on_claim",
                "source": {"uri": "pvc://models/team/a"},
                "versions": {"specific": [41, 42]},
                "labels": {"stable": 41, "canary": 42},
            },
            {"name": "in-image", "source": {"uri": "oci://registry.example.com/models/b:1"}, "versions": {"all": True}},
            {"name": "on-node", "source": {"uri": "file:///var/models/c"}, "versions": {"latest": 2}},
        ],
        "server": {"flags": [{"name": "file_system_poll_wait_seconds", "value": "30"}]},
        "disruption": {"minAvailable": "50%"},
    },
    "tls_and_pod_template": {
        "models": [FETCHED],
        "server": {
            "tls": {"secretName": "serving-tls", "clientVerify": True},
            "env": [{"name": "TF_CPP_MIN_LOG_LEVEL", "value": "1"}],
            "imagePullSecrets": [{"name": "pull"}],
            "serviceAccountName": "reader",
        },
        "networking": {"serviceType": "LoadBalancer", "serviceAnnotations": {"example.com/internal": "true"}},
        "pools": [
            {
                "name": "default",
                "podAnnotations": {"example.com/team": "vision"},
                "podTemplate": {
                    "metadata": {"labels": {"example.com/sidecar": "yes"}},
                    "spec": {
                        "containers": [
                            {"name": "server", "env": [{"name": "EXTRA", "value": "1"}]},
                            {"name": "proxy", "image": "example.com/proxy:1"},
                        ],
                        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["store"]}],
                    },
                },
            }
        ],
    },
}


def spec_of(case: str) -> ServedModelSpec:
    """The parsed spec of a case."""
    return ServedModelSpec.model_validate(CASES[case])
