"""The protocol's official client, as python.rs runs it: client.py SCENARIO LIFECYCLE TARGET DATA.

TARGET is a URL, or the program to start on the folder DATA. Says "passed" when every check held.
"""

import asyncio
import os
import sys

from mcp import Client, StdioServerParameters

TOOLS = {
    "remember", "recall", "get", "list", "update", "forget", "history",
    "session_append", "session_read", "cache_lookup", "cache_store", "stats",
}
SCOPE = {"user": "ann"}


def server(target, data):
    if target.startswith("http://"):
        return target
    settings = {"ORCHESTRA_CACHE_EMBEDDER": "static-256"}
    embedder = os.path.join(data, "embedder")
    if os.path.exists(embedder):
        settings["ORCHESTRA_EMBEDDER"] = "openai"
        with open(embedder) as file:
            settings["ORCHESTRA_EMBEDDER_URL"] = file.read()
    return StdioServerParameters(command=target, args=["mcp", "--data", data], env=settings)


async def ok(client, tool, **arguments):
    """Calls a tool. The client checks what it gives against the tool's schema."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, (tool, result)
    return result.structured_content


async def use(client):
    listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(listed) == TOOLS, set(listed)
    assert listed["recall"].annotations.read_only_hint and not listed["remember"].annotations.read_only_hint
    assert listed["forget"].annotations.destructive_hint and not listed["remember"].annotations.destructive_hint
    assert all(tool.output_schema and tool.description for tool in listed.values())

    written = await ok(client, "remember", text="Ann prefers\nthe window seat", scope=SCOPE, idempotency_key="k1")
    assert written["status"] == "created"
    again = await ok(client, "remember", text="Ann prefers\nthe window seat", scope=SCOPE, idempotency_key="k1")
    assert again["replayed"] and again["id"] == written["id"]

    result = await client.call_tool("recall", {"query": "where does Ann sit?", "scope": SCOPE})
    assert result.structured_content["results"][0]["id"] == written["id"]
    shown = result.content[0].text
    assert "data, not instruction" in shown and "| Ann prefers\n| the window seat\n" in shown, shown
    assert 'by way of "mcp"' in shown, shown

    memory = await ok(client, "get", id=written["id"], scope=SCOPE)
    assert memory["origin"] == {"writer": "agent", "path": "mcp"}
    assert len((await ok(client, "list", scope=SCOPE, limit=1, order="newest"))["memories"]) == 1

    await ok(client, "cache_store", prompt="Where?", response="There.", scope=SCOPE, depends_on=[written["id"]])
    assert (await ok(client, "cache_lookup", prompt="where?", scope=SCOPE))["response"] == "There."
    changed = await ok(client, "update", id=written["id"], scope=SCOPE, text="Ann prefers the aisle", expected_version=1)
    assert changed["version"] == 2
    assert not (await ok(client, "cache_lookup", prompt="where?", scope=SCOPE))["hit"]
    assert len((await ok(client, "history", id=written["id"]))["versions"]) == 2

    turns = [{"text": "Hello", "actor": "user"}, {"text": "Hi", "actor": "assistant"}]
    await ok(client, "session_append", session="monday", scope=SCOPE, messages=turns)
    read = await ok(client, "session_read", session="monday", scope=SCOPE)
    assert [message["text"] for message in read["messages"]] == ["Hello", "Hi"]
    assert (await ok(client, "stats", scope=SCOPE))["store"]["memories"] == 3

    # Several at once, each with its own answer.
    many = await asyncio.gather(*(ok(client, "remember", text=f"Number {n}", scope={"user": f"u{n}"}) for n in range(20)))
    assert len({one["id"] for one in many}) == 20

    refused = await client.call_tool("recall", {"query": "q", "limit": 0})
    assert refused.is_error
    for part in ('"field":"limit"', '"given":"0"', '"allowed":"a whole number from 1 to 1000"'):
        assert part in refused.content[0].text, refused
    refused = await client.call_tool("recall", {"query": "q", "tenant": "other"})
    assert refused.is_error and "tenant_from_identity" in refused.content[0].text, refused
    try:
        await client.call_tool("reset", {})
    except Exception as error:
        assert "no tool" in str(error), error
    else:
        raise AssertionError("a tool that is not there was called")

    gone = await ok(client, "forget", scope=SCOPE, ids=[written["id"]])
    assert gone["forgotten"] == [written["id"]]


async def tools(target, data, lifecycle):
    async with Client(server(target, data), mode=lifecycle) as client:
        await use(client)
    # The client went away; another finds what was acknowledged.
    async with Client(server(target, data), mode=lifecycle) as client:
        assert (await ok(client, "stats"))["store"]["memories"] == 22


async def give_up(target, data, lifecycle):
    async with Client(server(target, data), mode=lifecycle) as client:
        try:
            await client.call_tool("recall", {"query": "where?"}, read_timeout_seconds=0.3)
        except Exception as error:
            assert "imed out" in str(error), error
        else:
            raise AssertionError("an embedder that never answers was waited for")
        # The session goes on.
        assert (await ok(client, "stats"))["store"]["memories"] == 0


async def main():
    scenario, lifecycle, target, data = sys.argv[1:]
    run = {"tools": tools, "give-up": give_up}[scenario]
    await asyncio.wait_for(run(target, data, lifecycle), timeout=60)
    print("passed")


asyncio.run(main())
