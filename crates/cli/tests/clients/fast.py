"""FastMCP's client, as it comes: what it finds, one sandbox from its beginning to its end, and ten clients at once.

It checks what a tool answers against the tool's schema and raises what differs. Ends with 0 when everything held.

    python fast.py --url URL --token-file FILE --stdio PROGRAM ARGUMENT...
"""

import argparse
import asyncio
import contextlib
import importlib.metadata
import pathlib
import time

import jsonschema
from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from fastmcp.exceptions import ToolError
from mcp import MCPError

CLIENTS = 10


def validators(tools):
    """What answers are held against, by tool. Schemas that are none are refused here, inputs among them."""
    for tool in tools:
        for schema in (tool.input_schema, tool.output_schema):
            jsonschema.Draft202012Validator.check_schema(schema)
    return {tool.name: jsonschema.Draft202012Validator(tool.output_schema) for tool in tools}


async def once(client, number):
    """One sandbox, from create to delete. Every answer is held against its schema, by a second implementation of it too."""
    known = validators(await client.list_tools())

    async def call(tool, **arguments):
        answer = await client.call_tool(tool, arguments)
        known[tool].validate(answer.structured_content)
        # What the client makes of it by the schema; it logs what it could not read, and leaves nothing.
        assert answer.data is not None, f"{tool}: the client cannot read {answer.structured_content}"
        return answer.structured_content

    made = await call("sandbox_create", template="python", timeout=600)
    sandbox = made["sandbox_id"]
    try:
        run = await call("sandbox_execute", sandbox_id=sandbox, code=f"print({number} * 7)")
        assert (run["output"], run["exit_code"]) == (f"{number * 7}\n", 0), run
        status = await call("sandbox_status", sandbox_id=sandbox)
        assert status["status"] == "running", status
        wrong = await client.call_tool("sandbox_execute", {"sandbox_id": sandbox, "kode": "1"}, raise_on_error=False)
        assert wrong.is_error and "kode" in str(wrong.content), wrong
    finally:
        gone = await call("sandbox_delete", sandbox_id=sandbox)
    assert gone["already_deleted"] is False, gone
    # A refusal is raised in the client's own words for it.
    with contextlib.suppress(ToolError):
        await client.call_tool("sandbox_status", {"sandbox_id": sandbox, "unknown": 1})
        raise AssertionError("an argument that no tool has was taken")
    return sandbox, len(known)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--token-file", required=True)
    parser.add_argument("--stdio", required=True, nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    token = pathlib.Path(arguments.token_file).read_text().strip()

    def http():
        return Client(StreamableHttpTransport(arguments.url, headers={"Authorization": f"Bearer {token}"}))

    def stdio():
        program, *rest = arguments.stdio
        return Client(StdioTransport(program, rest, keep_alive=False))

    async def session(client, number):
        async with client:
            return await once(client, number)

    print(f"fastmcp {importlib.metadata.version('fastmcp')}")
    for name, transport in (("stdio", stdio), ("HTTP", http)):
        began = time.monotonic()
        _, tools = await session(transport(), 6)
        print(f"{name}: {tools} tools, one sandbox in {time.monotonic() - began:.2f} s")
        began = time.monotonic()
        ended = await asyncio.gather(*(session(transport(), number) for number in range(CLIENTS)))
        assert len({sandbox for sandbox, _ in ended}) == CLIENTS, ended
        print(f"{name}: {CLIENTS} clients at once in {time.monotonic() - began:.2f} s")
    # Without the token nobody is let in.
    try:
        async with Client(StreamableHttpTransport(arguments.url)) as client:
            await client.list_tools()
    except MCPError as refused:
        print(f"HTTP without the token: {refused}")
    else:
        raise AssertionError("a client without a token was let in")


asyncio.run(main())
