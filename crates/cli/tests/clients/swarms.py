"""The seed document's loop over a swarm, as it stands there, and what is around it. Ends with 0 when everything held.

    python swarms.py --era legacy|modern (--stdio PROGRAM ARGUMENT... | --url URL --token-file FILE)

The daemon must be nobody else's: the document's task goes to the newest swarm.
"""

import json
import sys

import anyio

import seed
from seed import CHECKS, block

CHECKS.clear()
check = seed.check


@check
def the_loop_of_the_document_runs_as_it_stands(c, box):
    swarm, *boxes, task = c.recorded(block("Example Integration"))
    agents = swarm["agents"]
    assert len(agents) == 3 and len(boxes) == 3, swarm
    assert swarm["topology"] == "mesh" and swarm["status"] == "active", swarm
    # The document links by name alone.
    for agent, made in zip(agents, boxes):
        assert made["agent_id"] == agent["id"] and made["swarm_id"] == swarm["swarm_id"], made
    now = c.swarm_status()
    assert [agent["sandbox_id"] for agent in now["agents"]] == [made["sandbox_id"] for made in boxes], now

    assert task["success"] and task["status"] == "completed", task
    assert task["swarm_id"] == swarm["swarm_id"] and task["handler"] == "backtest", task
    results = task["results"]
    assert [result["sandbox_id"] for result in results] == [made["sandbox_id"] for made in boxes], results
    # Each strategy really trades on real bars, and they differ.
    assert [result["result"]["strategy"] for result in results] == ["momentum", "mean_reversion", "pairs_trading"]
    assert len({result["result"]["equity_sha256"] for result in results}) == 3, results
    for result in results:
        assert result["result"]["trades"] > 0 and result["result"]["bars"] > 2000, result
        assert result["vote"] in ["buy", "sell", "hold"] and 0 <= result["weight"] <= 1, result
    aggregate = task["aggregate"]
    votes = [result["vote"] for result in results]
    winner = next((vote for vote in ["buy", "sell", "hold"] if votes.count(vote) >= 2), "hold")
    assert aggregate["decision"] == winner and aggregate["decided_by"] == "quorum", aggregate
    assert aggregate["quorum"] == {"asked": 3, "answered": 3, "absent": 0, "needed": 2}, aggregate
    assert aggregate["about"] == ["AAPL"], aggregate
    assert aggregate["combined"]["backtests"] == 3 and "sharpe" in aggregate["combined"], aggregate
    print(json.dumps({"decision": aggregate["decision"], "reason": aggregate["reason"], "figures": [
        {name: result["result"][name] for name in ["strategy", "total_return", "sharpe", "max_drawdown", "trades"]}
        | {"vote": result["vote"], "weight": result["weight"]} for result in results]}, indent=1))

    # Every agent of a mesh sees all results.
    for made in boxes:
        seen = c.sandbox_execute(sandbox_id=made["sandbox_id"], code=f"print(open('swarm/{task['task_id']}.json').read())")
        assert [result["vote"] for result in json.loads(seen["output"])["results"]] == votes, seen

    # A rerun is the same to the last bit.
    again = c.task_orchestrate(task="Run distributed backtest", strategy="sequential")
    same = [result["result"]["equity_sha256"] for result in again["results"]]
    assert same == [result["result"]["equity_sha256"] for result in results], again
    assert again["aggregate"] == aggregate, again

    gone = c.swarm_destroy(swarm_id=swarm["swarm_id"])
    assert gone["success"] and not gone["already_destroyed"], gone
    assert {cost["sandbox_id"] for cost in gone["sandboxes"]} == {made["sandbox_id"] for made in boxes}, gone
    assert gone["total_cost"] == sum(2 + cost["minutes"] for cost in gone["sandboxes"]) >= 9, gone
    for made in boxes:
        assert c.sandbox_status(sandbox_id=made["sandbox_id"])["status"] == "deleted"
    assert c.swarm_destroy(swarm_id=swarm["swarm_id"])["already_destroyed"]
    assert c.task_status(task_id=task["task_id"])["aggregate"] == aggregate


@check
def the_picture_of_the_document_decides(c, box):
    """Agent 1 technical analysis, agent 2 sentiment, agent 3 risk: aggregated results, a trading decision."""
    swarm = c.swarm_init(topology="star", maxAgents=3)
    texts = ["Apple beats expectations, record profit and strong growth", "Shares surge after upgrade", "No concern about debt"]
    task = c.task_orchestrate(task="Shall we buy?", handler="technical_analysis", swarm_id=swarm["swarm_id"], inputs=[
        {"symbol": "AAPL"}, {"handler": "sentiment", "texts": texts}, {"handler": "risk", "positions": {"AAPL": 100}}])
    assert task["status"] == "completed", task
    technical, sentiment, risk = (result["result"] for result in task["results"])
    assert technical["bars"] == 500 and 0 < technical["rsi_14"] < 100, technical
    assert task["results"][1]["vote"] == "buy" and sentiment["bad"] == 0, sentiment
    assert 0 < risk["var_95"] < risk["var_99"] < risk["cvar_99"] < 1 and risk["max_drawdown"] < 0, risk
    aggregate = task["aggregate"]
    assert aggregate["decided_by"] == task["results"][0]["agent"], aggregate
    # The hub proposes what weighs most; with fewer than two of three behind it, it stays a proposal.
    votes = [result["vote"] for result in task["results"]]
    proposal = aggregate["proposal"]
    assert aggregate["decision"] == (proposal if votes.count(proposal) >= 2 else "hold"), aggregate
    assert "of 3 agents asked" in aggregate["reason"], aggregate
    c.swarm_destroy(swarm_id=swarm["swarm_id"])


@check
def what_there_is_not_is_refused(c, box):
    unknown = "swarm_0000000000000000"
    c.refused("SWARM_NOT_FOUND", "swarm_status")
    for tool, more in [("swarm_status", {}), ("swarm_destroy", {}), ("agent_spawn", {}), ("swarm_scale", {"maxAgents": 2}),
                       ("task_orchestrate", {"task": "backtest"})]:
        for swarm_id in [unknown, "no-such-name", ""]:
            c.refused("SWARM_NOT_FOUND", tool, swarm_id=swarm_id, **more)
    for tool in ["task_status", "task_cancel"]:
        for task_id in ["task_0000000000000000", "no such task", ""]:
            c.refused("TASK_NOT_FOUND", tool, task_id=task_id)
    for more in [{"swarm_id": unknown}, {"agent_id": "a00000000000"}, {"agent_id": "' OR 1=1 --"}]:
        c.refused("SWARM_NOT_FOUND", "sandbox_create", template="python", **more)
    for arguments, word in [({"topology": "grid"}, "topology"), ({"topology": "mesh", "maxAgents": 0}, "maxAgents"),
                            ({"topology": "mesh", "maxAgents": 101}, "maxAgents"), ({}, "topology")]:
        assert word in c.refused("INVALID_ARGUMENT", "swarm_init", **arguments)
    swarm = c.swarm_init(topology="mesh", maxAgents=2)
    for arguments, word in [
        ({"task": "Make me rich"}, "handler"),
        ({"task": "Make me rich"}, "`code`"),
        ({"task": "backtest", "handler": "alchemy"}, "alchemy"),
        ({"task": "sentiment"}, "`texts` is missing"),
        ({"task": "risk"}, "`positions` is missing"),
        ({"task": "backtest", "inputs": [{}, {}, {}]}, "3 objects"),
        ({"task": "backtest", "inputs": [{"symbol": "NOPE"}]}, "no daily bars"),
        ({"task": "x", "code": "print(1)", "handler": "risk"}, "not both"),
        ({"task": "backtest", "consensus": "most"}, "consensus"),
        ({"task": "backtest", "timeout": 0}, "timeout"),
        ({"task": "backtest", "rounds": 2}, "rounds"),
    ]:
        assert word in c.refused("INVALID_ARGUMENT", "task_orchestrate", swarm_id=swarm["swarm_id"], **arguments), arguments
    # Nothing of that has made a sandbox.
    assert all(agent["sandbox_id"] is None for agent in c.swarm_status(swarm_id=swarm["swarm_id"])["agents"])
    c.swarm_destroy(swarm_id=swarm["swarm_id"])
    c.refused("SWARM_NOT_FOUND", "task_orchestrate", swarm_id=swarm["swarm_id"], task="backtest")
    c.refused("SWARM_NOT_FOUND", "sandbox_create", template="python", swarm_id=swarm["swarm_id"])


if __name__ == "__main__":
    sys.exit(anyio.run(seed.main))
