"""What the tests' own web servers leave behind: nothing, or some later test fails for it."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings

import pytest
from aiohttp import web
from yarl import URL

from e2e.web_servers import served


@pytest.mark.parametrize("turns", range(6))
def test_connections_that_are_just_being_accepted_are_closed_too(turns: int) -> None:
    async def serve_a_client_that_leaves() -> None:
        async with served(web.Application()) as url:
            where = URL(url)
            assert where.host
            assert where.port
            clients = [socket.create_connection((where.host, where.port)) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for client in clients:
                client.close()

    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(serve_a_client_that_leaves())
        gc.collect()
    assert [str(one.message) for one in left if "127.0.0.1" in str(one.message)] == []
