"""A port that the real server does not have: tests change knobs and look inside. Open from the very start."""

from __future__ import annotations

import json
import resource
from typing import TYPE_CHECKING, Any

from aiohttp import web

from e2e.modelserver.rest_front import listening_socket

if TYPE_CHECKING:
    from e2e.modelserver.faults import Faults


class AdminFront:
    """`GET /knobs`, `PATCH /knobs` with a JSON object, `POST /leak?bytes=N`, `GET /state`."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def start(self, port: int) -> web.ServerRunner:
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), handle_signals=False)
        await runner.setup()
        await web.SockSite(runner, listening_socket(port)).start()
        return runner

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return web.json_response(await self._answer(request))
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            return web.json_response({"error": str(error)}, status=400)

    async def _answer(self, request: web.BaseRequest) -> dict[str, Any]:
        match request.method, request.path:
            case "GET", "/knobs":
                return self._faults.knobs.as_json()
            case "PATCH", "/knobs":
                changes = json.loads(await request.text())
                if not isinstance(changes, dict):
                    raise ValueError("knobs are a JSON object")
                self._faults.change(changes)
                return self._faults.knobs.as_json()
            case "POST", "/leak":
                if "bytes" not in request.query:
                    raise ValueError("how much? POST /leak?bytes=N")
                self._faults.leak(int(request.query["bytes"]))
                return self._state()
            case "GET", "/state":
                return self._state()
            case method, path:
                raise ValueError(f"no such operation: {method} {path}")

    def _state(self) -> dict[str, Any]:
        return {
            "loads_attempted": self._faults.loads_attempted,
            "runs_started": self._faults.runs_started,
            "held": self._faults.held,
            "leaked_bytes": self._faults.leaked_bytes,
            "max_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
