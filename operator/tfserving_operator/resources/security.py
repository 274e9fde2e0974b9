"""Security contexts that Pod Security's ``restricted`` level asks for."""

from __future__ import annotations

from typing import Any

MODEL_SERVER_USER = 1000
"""Any user but root will do; the stock image names none, so it has to be said."""

RESTRICTED_CONTAINER: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}

RESTRICTED_POD: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": MODEL_SERVER_USER,
    "runAsGroup": MODEL_SERVER_USER,
    "fsGroup": MODEL_SERVER_USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
