"""Holds MCP servers to their contract, as the fastmcp client sees them. Started by scripts/mcp.

`mcp-client.py BINARY...` starts each server on a free port, and speaks both protocols with it: the one with
sessions, and the one in which each request stands alone.
"""

import asyncio
import contextlib
import logging
import os
import re
import secrets
import subprocess
import sys
import time

import httpx2
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from mcp.client.auth.utils import extract_resource_metadata_from_www_auth, extract_scope_from_www_auth

MODES = ["auto", "legacy", "2026-07-28"]
READ = ["stock_level", "watch_stock"]
ALL = ["adjust_stock", *READ]
PROMISED = 0.2  # seconds from a revocation to the end of a stream
BOUND = 2.0  # for a machine that is busy with something else


class Stream(httpx2.AsyncByteStream):
    """A stream of events, which notes when the server ends it."""

    def __init__(self, inner):
        self.inner, self.ended, self.is_open = inner, None, True

    async def __aiter__(self):
        async for part in self.inner:
            yield part
        self.ended, self.is_open = time.monotonic(), False

    async def aclose(self):
        self.is_open = False
        await self.inner.aclose()


class Wire(httpx2.AsyncBaseTransport):
    """The connection of a client, with all responses that came over it."""

    def __init__(self):
        self.inner, self.responses, self.streams = httpx2.AsyncHTTPTransport(), [], []

    async def handle_async_request(self, request):
        response = await self.inner.handle_async_request(request)
        self.responses.append(response)
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            response.stream = Stream(response.stream)
            self.streams.append(response.stream)
        return response

    async def aclose(self):
        await self.inner.aclose()

    def first(self, status):
        found = [response for response in self.responses if response.status_code == status]
        statuses = [response.status_code for response in self.responses]
        assert found, f"no {status} among {statuses}"
        return found[0]


class Server:
    """A running example."""

    def __init__(self, binary):
        admin = secrets.token_hex(24)
        environment = {**os.environ, "ADDR": "127.0.0.1:0", "ADMIN_API_KEY": admin}
        environment.pop("PUBLIC_URL", None)
        self.process = subprocess.Popen([binary], env=environment, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.url = re.search(r"http://[^/ ]+", line).group()
        self.administrator = httpx2.AsyncClient(headers={"x-admin-key": admin})

    async def stop(self):
        await self.administrator.aclose()
        self.process.terminate()
        self.process.wait()

    async def manage(self, path, body):
        response = await self.administrator.post(f"{self.url}/admin/api-keys{path}", json=body)
        return response.raise_for_status().json()

    async def key(self, *scopes, **more):
        return await self.manage("", {"name": "fastmcp", "scopes": list(scopes), **more})

    def client(self, mode, key):
        """A client that sends this key, if it is one, and its connection."""
        wire = Wire()

        def connect(**settings):
            settings.setdefault("timeout", 30)
            return httpx2.AsyncClient(transport=wire, **settings)

        transport = StreamableHttpTransport(
            f"{self.url}/mcp", auth=key, httpx_client_factory=connect
        )
        return Client(transport, mode=mode), wire


async def names(client):
    return sorted(tool.name for tool in await client.list_tools())


async def connect_and_list(client):
    async with client:
        return await names(client)


async def refused(call):
    """Awaits what the client is told to be an error."""
    try:
        await call
    except Exception:
        return
    raise AssertionError("the client was told of no error")


async def lists_and_calls(server, mode):
    clerk, reader = await server.key("stock:read", "stock:write"), await server.key("stock:read")
    client, _ = server.client(mode, clerk["key"])
    async with client:
        assert await names(client) == ALL
        before = await client.call_tool("stock_level", {"product": "pears"})
        after = await client.call_tool("adjust_stock", {"product": "pears", "by": 3})
        assert int(after.content[0].text) == int(before.content[0].text) + 3
    client, wire = server.client(mode, reader["key"])
    async with client:
        assert await names(client) == READ
        await refused(client.call_tool("adjust_stock", {"product": "pears", "by": 3}))
    denial = wire.first(403)
    assert 'error="insufficient_scope"' in denial.headers["www-authenticate"], denial.headers
    assert extract_scope_from_www_auth(denial) == "stock:write"
    assert extract_resource_metadata_from_www_auth(denial), denial.headers


async def without_a_good_key(server, mode):
    for key in [None, "a-key-that-was-never-issued-0123456789"]:
        client, wire = server.client(mode, key)
        await refused(connect_and_list(client))
        url = extract_resource_metadata_from_www_auth(wire.first(401))
        async with httpx2.AsyncClient() as plain:
            document = (await plain.get(url)).raise_for_status().json()
        assert document["resource"] == f"{server.url}/mcp", document
        assert document["scopes_supported"] == ["stock:read", "stock:write"], document


async def beyond_the_limit(server, mode):
    limit = {"name": "hour", "requests": 6, "window_seconds": 3600}
    busy = await server.key("stock:read", limits=[limit])
    client, wire = server.client(mode, busy["key"])
    with contextlib.suppress(Exception):
        async with client:
            for _ in range(limit["requests"] + 1):
                await client.call_tool("stock_level", {"product": "pears"})
    assert 1 <= int(wire.first(429).headers["retry-after"]) <= 3600


async def streams_end(server, mode):
    """How long after its revocation the streams of a key end."""
    watcher = await server.key("stock:read")
    client, wire = server.client(mode, watcher["key"])
    reported = asyncio.Event()

    async def progress(number, _total, _message):
        if number >= 2:
            reported.set()

    async with client:
        watch = {"product": "apples", "reports": 6_000}
        call = asyncio.create_task(
            client.call_tool("watch_stock", watch, progress_handler=progress)
        )
        await asyncio.wait_for(reported.wait(), 30)
        streams = [stream for stream in wire.streams if stream.is_open]
        assert streams, "there is no stream"
        revoked = time.monotonic()
        await server.manage(f"/{watcher['id']}/revoke", {})
        while any(stream.ended is None for stream in streams):
            assert time.monotonic() < revoked + BOUND, "a stream goes on"
            await asyncio.sleep(0.001)
        # In a session, the client would come back for the rest.
        call.cancel()
        await asyncio.wait([call])
        await refused(names(client))
        wire.first(401)
        return [stream.ended - revoked for stream in streams]


async def check(binary):
    name, server = os.path.basename(binary), Server(binary)
    try:
        for mode in MODES:
            await lists_and_calls(server, mode)
            await without_a_good_key(server, mode)
            await beyond_the_limit(server, mode)
            ends = [end for _ in range(5) for end in await streams_end(server, mode)]
            worst = max(ends)
            remark = "" if worst <= PROMISED else f", more than {PROMISED * 1000:.0f}"
            print(
                f"{name}, {mode}: 401, 403, 429; {len(ends)} streams ended within"
                f" {worst * 1000:.1f} ms of the revocation{remark}"
            )
    finally:
        await server.stop()


async def main():
    logging.disable(logging.CRITICAL)
    for binary in sys.argv[1:]:
        await asyncio.wait_for(check(binary), 300)


asyncio.run(main())
