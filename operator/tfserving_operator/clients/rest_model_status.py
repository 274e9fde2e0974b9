"""Model status over REST, for servers whose gRPC port has TLS: the REST port has none in TensorFlow Serving.

These calls count in the server's request metrics (with ``API=""``), which gRPC's do not, so they are the second choice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import aiohttp
import grpc

from tfserving_operator.clients.model_service import Unknown, VersionState, VersionStatus

_NOT_FOUND = 404


class RestModelStatusClient:
    """Asks model servers by ``host:port`` of their REST API."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def status(
        self, address: str, model_names: Collection[str], *, timeout_seconds: float
    ) -> Mapping[str, tuple[VersionStatus, ...] | Unknown]:
        """Return for each name its versions, highest first; a question that was not answered maps to Unknown."""
        answers = await asyncio.gather(*(self._ask(address, name, timeout_seconds) for name in model_names))
        return dict(zip(model_names, answers, strict=True))

    async def _ask(self, address: str, name: str, timeout_seconds: float) -> tuple[VersionStatus, ...] | Unknown:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        try:
            async with self._session.get(f"http://{address}/v1/models/{name}", timeout=timeout) as answer:
                if answer.status == _NOT_FOUND:
                    return ()
                answer.raise_for_status()
                return _versions(await answer.json())
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            return Unknown(f"{type(error).__name__}: {error}")


def _versions(body: Mapping[str, Any]) -> tuple[VersionStatus, ...]:
    versions = [
        VersionStatus(
            int(entry["version"]),
            _state(entry["state"]),
            _error_code(entry["status"]["error_code"]),
            entry["status"]["error_message"],
        )
        for entry in body["model_version_status"]
    ]
    return tuple(sorted(versions, key=lambda version: version.version, reverse=True))


def _state(name: str) -> VersionState:
    try:
        return VersionState(name)
    except ValueError:
        # A state that a newer server may have.
        return VersionState.UNKNOWN


def _error_code(name: str) -> int:
    """Return the number of a code that REST spells out; one that is not known is an error all the same."""
    codes = {code.name: int(code.value[0]) for code in grpc.StatusCode}
    return codes.get(name, codes["UNKNOWN"])
