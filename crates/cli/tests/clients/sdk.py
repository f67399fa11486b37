"""One way to call tools, over the Python `mcp` SDK of either generation.

`mcp` 1.x speaks the sessions of 2025-11-25; 2.x speaks those too, and the stateless requests of 2026-07-28.
"""

import contextlib
import importlib.metadata
import json

import anyio
import mcp

VERSION = importlib.metadata.version("mcp")
IS_SECOND = int(VERSION.split(".")[0]) >= 2


class Refused(Exception):
    """A tool error: `isError` with a code and a sentence."""

    def __init__(self, tool, body):
        super().__init__(f"{tool}: {body['code']}: {body['message']}")
        self.tool, self.code, self.message = tool, body["code"], body["message"]


class Answer(dict):
    """A tool's structured content. Its blocks, images among them, are in `content`."""

    content = ()


class Tools:
    """An open connection."""

    def __init__(self, session, caller, era, server, instructions):
        self.session, self.caller, self.era = session, caller, era
        self.server, self.instructions = server, instructions

    async def list(self):
        return (await self.session.list_tools()).tools

    async def call(self, tool, arguments, progress=None):
        """Calls a tool. What the SDK itself finds wrong, a result against its schema for one, is raised by it."""
        result = await self.caller(tool, arguments, progress)
        body = result.structured_content if IS_SECOND else result.structuredContent
        is_error = result.is_error if IS_SECOND else result.isError
        texts = [block.text for block in result.content if block.type == "text"]
        assert body is not None, f"{tool}: no structured content in {result}"
        assert [json.loads(text) for text in texts] == [body], f"{tool}: the text is not the same JSON: {texts}"
        assert is_error or "success" in body, f"{tool}: {body}"
        if is_error:
            assert body["success"] is False, body
            raise Refused(tool, body)
        answer = Answer(body)
        answer.content = result.content
        return answer

    async def give_up_after(self, seconds, tool, arguments):
        """Calls a tool, and cancels the call."""
        if not IS_SECOND:
            # The first generation leaves it to the caller to tell the server.
            number = self.session._request_id
        with anyio.move_on_after(seconds) as scope:
            await self.call(tool, arguments)
        assert scope.cancelled_caught, f"{tool} was answered before it was cancelled"
        if not IS_SECOND:
            params = mcp.types.CancelledNotificationParams(requestId=number, reason="no longer wanted")
            note = mcp.types.CancelledNotification(method="notifications/cancelled", params=params)
            await self.session.send_notification(mcp.types.ClientNotification(note))


@contextlib.asynccontextmanager
async def connect(*, stdio=None, url=None, token=None, era="legacy"):
    """Opens a connection: to the program of the list `stdio`, or to `url`."""
    async with contextlib.AsyncExitStack() as stack:
        if IS_SECOND:
            yield await second(stack, stdio, url, token, era)
        else:
            assert era == "legacy", f"mcp {VERSION} knows sessions only"
            yield await first(stack, stdio, url, token)


async def first(stack, stdio, url, token):
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamablehttp_client

    if stdio:
        transport = stdio_client(mcp.StdioServerParameters(command=stdio[0], args=stdio[1:]))
    else:
        transport = streamablehttp_client(url, headers={"Authorization": f"Bearer {token}"})
    read, write, *_ = await stack.enter_async_context(transport)
    session = await stack.enter_async_context(mcp.ClientSession(read, write))
    started = await session.initialize()

    async def caller(tool, arguments, progress):
        return await session.call_tool(tool, arguments, progress_callback=progress)

    return Tools(session, caller, started.protocolVersion, started.serverInfo.name, started.instructions)


async def second(stack, stdio, url, token, era):
    if stdio:
        server = mcp.StdioServerParameters(command=stdio[0], args=stdio[1:])
    else:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        headers = {"Authorization": f"Bearer {token}"}
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=120))
        server = streamable_http_client(url, http_client=http)
    client = await stack.enter_async_context(mcp.Client(server, mode="legacy" if era == "legacy" else "auto"))

    async def caller(tool, arguments, progress):
        return await client.call_tool(tool, arguments, progress_callback=progress)

    session = client.session
    info = session.server_info
    return Tools(session, caller, session.protocol_version, info and info.name, session.instructions)
