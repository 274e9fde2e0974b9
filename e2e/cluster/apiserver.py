"""Asking the apiserver whether things are as they should be, without kubectl's start-up time."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx


@dataclass(frozen=True)
class ApiServer:
    """The apiserver at ``url``, asked with all rights."""

    url: str
    pki: Path

    def answers(self, path: str) -> bool:
        """Tell whether a GET of ``path`` succeeds."""
        return self._get(path) is not None

    def has_condition(self, path: str, kind: str) -> bool:
        """Tell whether the object at ``path`` exists and its condition ``kind`` is True."""
        found: dict[str, Any] = self._get(path) or {}
        conditions = found.get("status", {}).get("conditions") or []
        return any(one["type"] == kind and one["status"] == "True" for one in conditions)

    def capacity(self, path: str, resource: str) -> str:
        """Return how much of ``resource`` the node at ``path`` has to give; empty when none was ever there."""
        found: dict[str, Any] = self._get(path) or {}
        return str(found.get("status", {}).get("allocatable", {}).get(resource, ""))

    def read(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        """Return what is at ``path``, None where there is nothing; raise httpx.HTTPError for any other refusal.

        A kind that the apiserver does not have is refused too: of it, nothing could be found.
        """
        answer = httpx.get(self.url + path, params=query, verify=self._trust, trust_env=False, timeout=30)
        # An object that is missing is told as JSON, a path that is none as plain text.
        if answer.status_code == httpx.codes.NOT_FOUND and "json" in answer.headers.get("content-type", ""):
            return None
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def _get(self, path: str) -> Any | None:
        try:
            answer = httpx.get(self.url + path, verify=self._trust, trust_env=False, timeout=5)
        except httpx.TransportError:
            return None
        if not answer.is_success:
            return None
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        trust = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        trust.load_cert_chain(self.pki / "admin.crt", self.pki / "admin.key")
        return trust
