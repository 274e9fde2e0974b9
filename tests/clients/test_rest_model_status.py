from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from e2e.web_servers import served
from tfserving_operator.clients.model_service import Unknown, VersionState, VersionStatus
from tfserving_operator.clients.rest_model_status import RestModelStatusClient

LOADED = {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
FAILED = {"version": "10", "state": "END", "status": {"error_code": "DATA_LOSS", "error_message": "corrupt"}}


async def ask(body: Any, *, code: int = 200) -> Any:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body, status=code)

    app = web.Application()
    app.router.add_get("/v1/models/m", answer)
    client = RestModelStatusClient()
    async with served(app) as url:
        try:
            return (await client.status(URL(url).authority, ["m"], timeout_seconds=5))["m"]
        finally:
            await client.close()


async def test_versions_come_highest_first_with_their_errors() -> None:
    assert await ask({"model_version_status": [LOADED, FAILED]}) == (
        VersionStatus(10, VersionState.END, 15, "corrupt"),
        VersionStatus(2, VersionState.AVAILABLE, 0, ""),
    )


async def test_a_model_without_versions_is_known_to_have_none() -> None:
    assert await ask({"error": "Could not find any versions of model m"}, code=404) == ()


@pytest.mark.parametrize(("body", "code"), [({}, 200), ({"error": "x"}, 500), ({"model_version_status": [{}]}, 200)])
async def test_anything_else_is_unknown(body: Any, code: int) -> None:
    assert isinstance(await ask(body, code=code), Unknown)


async def test_no_server_is_unknown() -> None:
    client = RestModelStatusClient()
    answers = await client.status("127.0.0.1:1", ["m"], timeout_seconds=1)
    await client.close()
    assert isinstance(answers["m"], Unknown)
