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
    # What the cases above leave at its default.
    "everything": {
        "models": [
            {
                "name": "digits",
                "source": {"uri": "s3://bucket/digits", "credentials": {"secretName": "s3"}, "sizeLimit": "2Gi"},
                "versions": {"latest": 3},
                "labels": {"stable": 7},
            },
            {"name": "Words", "source": {"uri": "https://host/{version}.tar.gz"}, "versions": {"specific": [2, 1]}},
        ],
        "server": {
            "image": "registry.example.com/serving@sha256:0a1b",
            "imagePullPolicy": "IfNotPresent",
            "threads": {"intraOp": 3, "interOp": 2, "rest": 24, "grpc": 48},
            "xla": {"cpu": True},
            "mixedPrecision": "bfloat16",
            "warmup": {"iterations": 5},
            "env": [
                {"name": "TF_CPP_MIN_LOG_LEVEL", "value": "1"},
                {"name": "TF_ENABLE_ONEDNN_OPTS", "value": "1"},
                {"name": "TOKEN", "secretKeyRef": {"name": "store", "key": "token"}},
            ],
            "flags": [
                {"name": "rest_api_timeout_in_ms", "value": "5000"},
                {"name": "num_load_threads", "value": "2"},
                {"name": "grpc_channel_arguments", "value": "grpc.max_concurrent_streams=100"},
            ],
            "loadTimeoutSeconds": 301,
            "drainSeconds": 30,
        },
        "batching": {
            "maxBatchSize": 64,
            "batchTimeout": "500us",
            "maxEnqueuedBatches": 128,
            "numBatchThreads": 6,
            "threadPoolName": "shared",
            "allowedBatchSizes": [8, 64],
            "padVariableLengthInputs": True,
            "enableLargeBatchSplitting": True,
            "maxExecutionBatchSize": 64,
        },
        "replicas": 5,
        "pools": [
            {
                "name": "gpu",
                "accelerator": {"resource": "amd.com/gpu"},
                "replicas": {"fixed": 2},
                "resources": {
                    "requests": {"cpu": 2, "memory": "4Gi"},
                    "limits": {"cpu": 4, "memory": "8Gi", "ephemeral-storage": "1Gi"},
                },
                "scheduling": {
                    "nodeSelector": {"disk": "ssd"},
                    "tolerations": [
                        {"key": "spot", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60},
                    ],
                    "affinity": {
                        "nodeAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": {
                                "nodeSelectorTerms": [
                                    {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["mi300"]}]}
                                ]
                            }
                        }
                    },
                    "topologySpreadConstraints": [
                        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
                        {
                            "maxSkew": 2,
                            "topologyKey": "rack",
                            "whenUnsatisfiable": "DoNotSchedule",
                            "labelSelector": {"matchLabels": {"tier": "gold"}},
                        },
                    ],
                    "priorityClassName": "serving",
                    "runtimeClassName": "rocm",
                },
                "batching": {"maxBatchSize": 16, "numBatchThreads": 2},
                "server": {
                    "threads": {"rest": 8},
                    "xla": {"gpu": True},
                    "env": [
                        {"name": "TF_CPP_MIN_LOG_LEVEL", "value": "3"},
                        {"name": "CUDA_CACHE_PATH", "value": "/tmp/kernels"},
                    ],
                    "flags": [
                        {"name": "num_load_threads", "value": "3"},
                        {"name": "saved_model_tags", "value": "serve,gpu"},
                    ],
                },
                "updateStrategy": {"maxSurge": "25%", "maxUnavailable": "10%"},
                "podLabels": {"tier": "gold"},
                "podAnnotations": {"prometheus.io/scrape": "false"},
                "podTemplate": {
                    "metadata": {"annotations": {"example.com/note": "merged last"}},
                    "spec": {
                        "containers": [
                            {
                                "name": "server",
                                "resources": {"claims": [{"name": "link"}]},
                                "securityContext": {"runAsUser": 2000},
                                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                            }
                        ],
                        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
                        "securityContext": {"fsGroup": 2000},
                        "resourceClaims": [{"name": "link", "resourceClaimTemplateName": "link"}],
                    },
                },
            },
            {"name": "cpu", "replicas": {"min": 1, "max": 8}, "resources": {"limits": {"cpu": "2500m"}}},
        ],
        "disruption": {"maxUnavailable": "25%"},
        "networking": {"serviceType": "NodePort", "restPort": 80, "grpcPort": 9000},
    },
}


def spec_of(case: str) -> ServedModelSpec:
    """The parsed spec of a case."""
    return ServedModelSpec.model_validate(CASES[case])
