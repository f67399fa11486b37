"""Everything that the seed document does with sandboxes, and what a careful client tries beside it.

The blocks of seed.md are run as they stand there; the only changes are the id of the sandbox, which nobody can know
ahead, and `-` in the prefix of the tools, which Python does not have in names. Ends with 0 when everything held.

    python seed.py --era legacy|modern (--stdio PROGRAM ARGUMENT... | --url URL --token-file FILE)
"""

import argparse
import base64
import functools
import hashlib
import json
import pathlib
import re
import secrets
import sys
import textwrap
import time
import traceback

import anyio
import anyio.from_thread
import anyio.to_thread

import sdk

SEED = pathlib.Path(__file__).with_name("seed.md").read_text()
SEED_ID = "ifxkb9zwglaz0pk5dc3zb"
UNKNOWN = "i0000000000unknown000"
TOOLS = """
    sandbox_create sandbox_configure sandbox_execute execution_status sandbox_status sandbox_list sandbox_stop
    sandbox_pause sandbox_resume sandbox_delete sandbox_upload sandbox_download sandbox_logs export_template template_list
    template_get template_delete audit_log audit_verify trading_status trading_limits trading_halt orders_list positions_list system_health
    backtest_sweep backtest_status pipeline_run pipeline_status pipeline_output pipeline_resume pipeline_cancel
    swarm_init agent_spawn swarm_status swarm_list swarm_scale swarm_destroy task_orchestrate task_status task_cancel
    check_balance usage
""".split()

CHECKS = []


def check(function):
    """Marks one step. Each gets the connection, in a thread of its own, and a sandbox that was made from the seed."""
    CHECKS.append(function)
    return function


# What the document says.


def blocks(heading, kind="python"):
    """The code below a heading."""
    section = SEED.split(f"### {heading}\n", 1)[1].split("\n### ", 1)[0]
    found = re.findall(rf"^ *```{kind}\n(.*?)^ *```$", section, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


def block(heading, kind="python"):
    (only,) = blocks(heading, kind)
    return only


class Connection:
    """The tools as the document calls them: functions that answer dictionaries."""

    def __init__(self, tools):
        self.tools = tools
        self.made = []

    def call(self, tool, /, *positional, progress=None, **arguments):
        # The troubleshooting section passes the id without its name.
        arguments.update(zip(["sandbox_id"], positional))
        answer = anyio.from_thread.run(functools.partial(self.tools.call, tool, arguments, progress))
        if tool == "sandbox_create":
            self.made.append(answer)
        return answer

    def __getattr__(self, tool):
        return functools.partial(self.call, tool)

    def run(self, program, box=None, **names):
        """Runs a block of the document, and returns what it left in its variables."""
        program = program.replace("mcp__flow-nexus__", "mcp__flow_nexus__")
        if box:
            program = program.replace(SEED_ID, box)
        for tool in TOOLS:
            names[f"mcp__flow_nexus__{tool}"] = functools.partial(self.call, tool)
        exec(compile(program, "seed.md", "exec"), names)
        return names

    def recorded(self, program, **names):
        """The same, and the answers of the calls that it made."""
        answers = []
        call = self.call

        def record(*given, **arguments):
            answers.append(call(*given, **arguments))
            return answers[-1]

        self.call = record
        try:
            self.run(program, **names)
        finally:
            del self.call
        return answers

    def refused(self, code, tool, /, **arguments):
        """Calls what must be refused; answers the sentence."""
        try:
            answer = self.call(tool, **arguments)
        except sdk.Refused as refusal:
            assert refusal.code == code, f"{code} was expected, not {refusal}"
            return refusal.message
        raise AssertionError(f"{tool}({arguments}) was accepted: {answer}")


def same_keys(answer, documented):
    """Everything that the document shows is there, with a value of the same kind."""
    for name, value in documented.items():
        assert name in answer, f"{name} is missing in {answer}"
        assert value is None or isinstance(answer[name], (type(value), float)), f"{name}: {answer[name]!r}"


# The document, section by section.


@check
def what_the_server_offers(c, box):
    tools = anyio.from_thread.run(c.tools.list)
    assert [tool.name for tool in tools] == TOOLS, [tool.name for tool in tools]
    for tool in tools:
        schema = tool.input_schema if sdk.IS_SECOND else tool.inputSchema
        assert tool.description and schema["type"] == "object" and schema["additionalProperties"] is False, tool
    assert c.tools.server == "ringfence" and "sandbox_create" in c.tools.instructions


@check
def a_sandbox_is_created_as_documented(c, box):
    (made,) = c.recorded(block("Deploy Python Trading Sandbox"))
    documented = json.loads(block("Deploy Python Trading Sandbox", "json"))
    same_keys(made, documented)
    changing = {"sandbox_id", "e2b_sandbox_id"}
    for name in documented.keys() - changing:
        assert made[name] == documented[name], f"{name}: {made[name]!r}"
    assert re.fullmatch("i[a-z0-9]{20}", made["sandbox_id"]) and made["sandbox_id"] == made["e2b_sandbox_id"]


@check
def an_environment_with_packages_is_configured_as_documented(c, box):
    c.run(block("Configure Trading Environment"), box["sandbox_id"])
    code = "import os, alpaca, pandas, numpy; print(os.environ['ALPACA_BASE_URL'])"
    answer = c.sandbox_execute(sandbox_id=box["sandbox_id"], code=code)
    assert answer["output"] == "https://paper-api.alpaca.markets\n", answer
    wrong = {"sandbox_id": box["sandbox_id"], "install_packages": ["./somewhere"]}
    assert "install_packages" in c.refused("INVALID_ARGUMENT", "sandbox_configure", **wrong)


@check
def the_simple_script_prints_what_is_documented(c, box):
    (answer,) = c.recorded(block("Simple Trading Script Execution"), box=box["sandbox_id"])
    documented = json.loads(block("Simple Trading Script Execution", "json"))
    same_keys(answer, documented)
    for name in documented.keys() - {"execution_id", "sandbox_id", "execution_time"}:
        assert answer[name] == documented[name], f"{name}: {answer[name]!r}"
    assert re.match(r"exec_\d{13}", answer["execution_id"]) and answer["sandbox_id"] == box["sandbox_id"]
    assert 0 < answer["execution_time"] < 30


@check
def the_complex_backtest_runs(c, box):
    (answer,) = c.recorded(block("Complex Backtest Execution"), box=box["sandbox_id"])
    assert answer["success"] and answer["exit_code"] == 0 and answer["error"] is None, answer
    # The document's own twelve trades cannot occur: one needs a crossing, and 50 days have a few.
    pattern = r"Total Return: -?\d+\.\d\d%\nWin Rate: \d+\.\d\d%\nTotal Trades: (\d+)\n"
    found = re.fullmatch(pattern, answer["output"])
    assert found and 0 <= int(found[1]) <= 12, answer["output"]


@check
def parallel_strategies_run_in_sandboxes_of_their_own(c, box):
    names = c.run(block("Parallel Strategy Testing"))
    sandbox_ids = names["sandbox_ids"]
    assert len(set(sandbox_ids.values())) == 3
    listed = {s["sandbox_id"]: s for s in c.sandbox_list(status="running", limit=1000)["sandboxes"]}
    for strategy, sandbox_id in sandbox_ids.items():
        assert listed[sandbox_id]["name"] == f"backtest-{strategy}", listed[sandbox_id]
    program = block("Distributed Backtesting")
    try:
        c.run(program, sandbox_ids=sandbox_ids)
    except KeyError as fault:
        # The document's own: its program has braces that `.format` takes for its fields.
        assert fault.args == ("trades",), fault
    mended = re.sub(r"\{(trades|wins/trades|total_return)(:[^}]*)?\}", r"{{\1\2}}", program)
    mended = mended.replace('print(f"Strategy: {strategy}")', 'print("Strategy: {strategy}")')
    answers = c.recorded(mended, sandbox_ids=sandbox_ids)
    outputs = [answer["output"] for answer in answers]
    assert outputs == [
        f"Strategy: {s}\nTrades: 131\nWin Rate: 54.96%\nReturn: 11.00%\n" for s in sandbox_ids
    ], outputs


@check
def the_pipeline_runs_without_a_language(c, box):
    program = block("Sandbox Orchestration")
    assert program.count("language") == 0
    answers = c.recorded(program)
    made, executed = answers[0::2], answers[1::2]
    stages = [("data-collector", "node"), ("analyzer", "python"), ("executor", "python")]
    assert [(stage["name"], stage["template"]) for stage in made] == stages, made
    assert len({stage["sandbox_id"] for stage in made}) == 3, made
    # Each stage is a comment of its template's own language: a program that does nothing, well.
    for stage, answer, language in zip(made, executed, ["javascript", "python", "python"], strict=True):
        assert stage["status"] == "running" and answer["sandbox_id"] == stage["sandbox_id"], (stage, answer)
        assert answer["success"] and answer["status"] == "completed" and answer["exit_code"] == 0, answer
        assert answer["output"] == "" and answer["error"] is None and answer["language"] == language, answer


@check
def a_template_of_ones_own_has_its_packages(c, box):
    first, rest = block("Sandbox Templates for Trading").split("# Install trading stack")
    install, save = rest.split("# Save as template")
    made = c.run(first)["sandbox"]
    c.run(install, sandbox=made)
    code = "import alpaca, yfinance, talib, pandas, numpy, sklearn; print('imported')"
    answer = c.sandbox_execute(sandbox_id=made["sandbox_id"], code=code)
    assert answer["output"] == "imported\n", answer
    # Both transports go through the document at once, and a name is taken once.
    name = f"alpaca-trading-v1-{made['sandbox_id']}"
    assert '"alpaca-trading-v1"' in save
    c.run(save.replace("alpaca-trading-v1", name), sandbox=made)
    shown = c.template_get(template_name=name)["template"]
    assert shown["status"] == "ready" and shown["category"] == "exported", shown
    assert {"scikit-learn", "yfinance"} <= {package["name"] for package in shown["packages"]}, shown
    c.refused("TEMPLATE_EXISTS", "export_template", sandbox_id=made["sandbox_id"], template_name=name)
    copy = c.sandbox_create(template=name)
    answer = c.sandbox_execute(sandbox_id=copy["sandbox_id"], code=code)
    assert answer["output"] == "imported\n", answer
    c.refused("TEMPLATE_IN_USE", "template_delete", template_name=name)
    c.sandbox_delete(sandbox_id=copy["sandbox_id"])
    c.template_delete(template_name=name)
    c.refused("TEMPLATE_NOT_FOUND", "template_get", template_name=name)


@check
def keys_are_rotated_as_written(c, box):
    rotate = c.run(block("Secure API Management"))["rotate_api_keys"]
    fingerprints = set()
    for value in ["old", "new"]:
        assert rotate(box["sandbox_id"], {"ALPACA_API_KEY": f"{value}-5d41402abc"}) is True
        fingerprints.add(c.sandbox_configure(sandbox_id=box["sandbox_id"])["env_fingerprints"]["ALPACA_API_KEY"])
    assert len(fingerprints) == 2, "a new value is told from an old one"
    # The name is one of a key: its value stays outside, and programs see something of its shape.
    answer = c.sandbox_execute(sandbox_id=box["sandbox_id"], code="import os; print(os.environ['ALPACA_API_KEY'])")
    assert answer["output"].startswith("PK") and "5d41402abc" not in answer["output"], answer
    # A real rotation: what is not named is gone, and newness can be checked without the value.
    before = c.sandbox_configure(sandbox_id=box["sandbox_id"])["env_fingerprints"]["ALPACA_API_KEY"]
    after = c.sandbox_configure(sandbox_id=box["sandbox_id"], env_mode="replace", env_vars={"B": "2"})
    assert list(after["env_fingerprints"]) == ["B"] and before not in after["env_fingerprints"].values(), after
    answer = c.sandbox_execute(sandbox_id=box["sandbox_id"], code="import os; print('ALPACA_API_KEY' in os.environ)")
    assert answer["output"] == "False\n", answer
    audited = json.dumps(c.audit_log(sandbox_id=box["sandbox_id"], limit=1000))
    logged = json.dumps(c.sandbox_logs(sandbox_id=box["sandbox_id"], source="system"))
    assert "ALPACA_API_KEY" in audited and "5d41402abc" not in audited + logged, "names only"
    verified = c.audit_verify()
    assert verified["valid"] and verified["entries"] > 0 and verified["gate"]["valid"], verified
    later = c.audit_verify(remembered=verified["head"])
    assert later["valid"] and later["head"]["seq"] >= verified["head"]["seq"], later
    forged = c.audit_verify(remembered={"seq": verified["head"]["seq"], "hash": "0" * 64})
    assert not forged["valid"] and forged["broken_at"] == verified["head"]["seq"], forged


@check
def an_environment_that_was_cleared_is_there_in_the_next_execution(c, box):
    c.sandbox_configure(sandbox_id=box["sandbox_id"], env_vars={"KEPT": "yes"})
    cleared = "import os; os.environ.clear(); print(len(os.environ))"
    assert c.sandbox_execute(sandbox_id=box["sandbox_id"], code=cleared)["output"] == "0\n"
    code = "import os; print(os.environ['KEPT'], os.environ['HOME'])"
    assert c.sandbox_execute(sandbox_id=box["sandbox_id"], code=code)["output"] == "yes /home/user\n"
    alone = c.sandbox_execute(sandbox_id=box["sandbox_id"], code=code, env_vars={"KEPT": "here"})
    assert alone["output"] == "here /home/user\n", alone
    assert c.sandbox_execute(sandbox_id=box["sandbox_id"], code=code)["output"] == "yes /home/user\n"


@check
def troubleshooting_works_as_written(c, box):
    made = c.sandbox_create(template="python")
    program = block("Common Flow Nexus Sandbox Issues").replace('sandbox_id="..."', "sandbox_id=sandbox_id")
    names = {"sandbox_id": made["sandbox_id"]}
    (status,) = c.recorded(program, **names)
    assert status["status"] == "running" and status["sandbox"]["status"] == "running", status
    c.sandbox_stop(sandbox_id=made["sandbox_id"])
    status, deleted = c.recorded(program, **names)
    assert status["status"] == "stopped" and deleted["success"], (status, deleted)
    assert deleted["message"] and deleted["deleted_at"] and deleted["already_deleted"] is False, deleted
    assert c.sandbox_delete(sandbox_id=made["sandbox_id"])["already_deleted"] is True
    assert c.sandbox_status(sandbox_id=made["sandbox_id"])["status"] == "deleted"
    c.refused("SANDBOX_NOT_RUNNING", "sandbox_execute", sandbox_id=made["sandbox_id"], code="")
    pips = c.sandbox_execute(sandbox_id=box["sandbox_id"], language="bash", code="pip list")
    assert pips["success"] and "pandas" in pips["output"], pips


# What the document leaves open.


@check
def a_name_stands_for_its_id(c, box):
    name = f"seed-{secrets.token_hex(6)}"
    made = c.sandbox_create(template="python", name=name)
    for tool in ["sandbox_status", "sandbox_logs", "sandbox_pause", "sandbox_resume", "sandbox_configure"]:
        assert c.call(tool, sandbox_id=name)["success"]
    answer = c.sandbox_execute(sandbox_id=name, code="# nothing but a comment")
    assert answer["success"] and answer["output"] == "" and answer["sandbox_id"] == made["sandbox_id"], answer
    other = c.sandbox_create(template="python", name=name)
    assert "id" in c.refused("SANDBOX_NAME_AMBIGUOUS", "sandbox_execute", sandbox_id=name, code="")
    c.sandbox_delete(sandbox_id=other["sandbox_id"])
    assert c.sandbox_delete(sandbox_id=name)["sandbox_id"] == made["sandbox_id"]


@check
def an_unknown_id_is_an_error_everywhere(c, box):
    more = {
        "sandbox_execute": {"code": "print(1)"},
        "sandbox_upload": {"file_path": "a", "content": ""},
        "sandbox_download": {"file_path": "a"},
    }
    for tool in TOOLS:
        about = tool.startswith("sandbox_") and tool not in ["sandbox_create", "sandbox_list"]
        if about or tool == "audit_log":
            for sandbox_id in [UNKNOWN, "no-such-name", ""]:
                c.refused("SANDBOX_NOT_FOUND", tool, sandbox_id=sandbox_id, **more.get(tool, {}))
        if about:
            # The sandbox comes first: what else is wrong with a call about nothing does not matter.
            c.refused("SANDBOX_NOT_FOUND", tool, sandbox_id=UNKNOWN, nonsense=1)
    for unknown in ["exec_1757371623056", "no such execution", ""]:
        c.refused("EXECUTION_NOT_FOUND", "execution_status", execution_id=unknown)
    for unknown in ["no-such-template", ""]:
        c.refused("TEMPLATE_NOT_FOUND", "template_get", template_name=unknown)
    c.refused("TEMPLATE_NOT_FOUND", "sandbox_create", template="no-such-template")
    c.refused("FILE_NOT_FOUND", "sandbox_download", sandbox_id=box["sandbox_id"], file_path="no/such/file")
    c.refused("LANGUAGE_NOT_AVAILABLE", "sandbox_execute", sandbox_id=box["sandbox_id"], code="1", language="javascript")


@check
def an_argument_that_is_wrong_is_named(c, box):
    box = box["sandbox_id"]
    for tool, arguments, word in [
        ("sandbox_create", {"template": "python", "region": "eu"}, "region"),
        ("sandbox_create", {}, "template"),
        ("sandbox_create", {"template": "python", "timeout": 0}, "timeout"),
        ("sandbox_create", {"template": "python", "limits": {"memory": 1}}, "memory"),
        ("sandbox_execute", {"sandbox_id": box, "code": "1", "kernel": 1}, "kernel"),
        ("sandbox_execute", {"sandbox_id": box}, "code"),
        ("sandbox_execute", {"sandbox_id": box, "code": "1", "timeout": -1}, "timeout"),
        ("sandbox_execute", {"sandbox_id": box, "code": "1", "working_dir": "a\0b"}, "working_dir"),
        ("sandbox_configure", {"sandbox_id": box, "env_vars": {"A=B": "1"}}, "A=B"),
        ("sandbox_logs", {"sandbox_id": box, "source": "nowhere"}, "source"),
        ("sandbox_logs", {"sandbox_id": box, "lines": 0}, "lines"),
        ("sandbox_upload", {"sandbox_id": box, "file_path": "a"}, "content"),
        ("sandbox_upload", {"sandbox_id": box, "file_path": "a", "content_base64": "*"}, "content_base64"),
        ("sandbox_list", {"status": "asleep"}, "status"),
        ("audit_log", {"since": "yesterday"}, "since"),
        ("system_health", {"deep": True}, "deep"),
    ]:
        assert word in c.refused("INVALID_ARGUMENT", tool, **arguments), (tool, arguments)
    c.refused("SWARM_NOT_FOUND", "sandbox_create", template="python", swarm_id="s")
    assert "NOBODY_API_KEY" in c.refused(
        "INVALID_ARGUMENT", "sandbox_create", template="python", env_vars={"NOBODY_API_KEY": "0123456789"}
    )
    assert "operator" in c.refused("PERMISSION_DENIED", "sandbox_create", template="python", network="open")


@check
def files_come_back_as_they_went(c, box):
    box = box["sandbox_id"]
    binary = bytes(range(256)) * 1024
    for path, content in [("deep/in/a.bin", binary), ("empty", b""), ("text.txt", "Größe → 1\n".encode())]:
        up = c.sandbox_upload(sandbox_id=box, file_path=path, content_base64=base64.b64encode(content).decode())
        assert up["size"] == len(content) and up["checksum"] == hashlib.sha256(content).hexdigest(), up
        down = c.sandbox_download(sandbox_id=box, file_path=path)
        is_text = content != binary
        assert ("content" in down, "content_base64" in down) == (is_text, not is_text), down.keys()
        got = down["content"].encode() if is_text else base64.b64decode(down["content_base64"])
        assert got == content and down["checksum"] == up["checksum"] and down["file_path"] == f"/home/user/{path}"
    c.sandbox_upload(sandbox_id=box, file_path="/home/user/from-text", content="x,y\n1,2\n")
    answer = c.sandbox_execute(sandbox_id=box, code="import pandas; print(pandas.read_csv('from-text').y[0])")
    assert answer["output"] == "2\n", answer


@check
def a_program_that_takes_too_long_is_no_tool_error(c, box):
    code = "print('before', flush=True)\nimport time; time.sleep(30)"
    answer = c.sandbox_execute(sandbox_id=box["sandbox_id"], code=code, timeout=0.5)
    assert (answer["success"], answer["status"], answer["exit_code"]) == (False, "timeout", 124), answer
    assert answer["output"] == "before\n" and 0.4 < answer["execution_time"] < 10, answer


@check
def a_program_in_the_background_is_read_later(c, box):
    code = "print('first', flush=True)\nimport time; time.sleep(1.5); print('last')"
    started = time.monotonic()
    answer = c.sandbox_execute(sandbox_id=box["sandbox_id"], code=code, background=True)
    assert answer["status"] == "running" and answer["exit_code"] is None and time.monotonic() - started < 1.4, answer
    ended = c.execution_status(execution_id=answer["execution_id"], wait=30)
    assert ended["status"] == "completed" and ended["output"] == "first\nlast\n", ended
    # The same by waiting less than the program takes.
    answer = c.sandbox_execute(sandbox_id=box["sandbox_id"], code=code, wait=0.7)
    assert answer["status"] == "running" and answer["success"] and answer["output"] == "first\n", answer
    assert c.execution_status(execution_id=answer["execution_id"])["status"] == "running"
    ended = c.execution_status(execution_id=answer["execution_id"], wait=30)
    assert ended["success"] and ended["output"] == "first\nlast\n" and ended["exit_code"] == 0, ended


@check
def much_output_is_cut_and_said_to_be(c, box):
    answer = c.sandbox_execute(sandbox_id=box["sandbox_id"], code="print('x' * (3 << 20))")
    assert answer["success"] and answer["truncated"] and answer["output_bytes"] == (3 << 20) + 1, answer.keys()
    assert answer["output"].strip("x") == "" and len(answer["output"]) == 1 << 20, len(answer["output"])


@check
def a_figure_is_an_image(c, box):
    code = "import matplotlib.pyplot as plt; plt.plot([1, 3, 2]); plt.show()"
    answer = c.sandbox_execute(sandbox_id=box["sandbox_id"], code=code)
    images = [b for b in answer.content if b.type == "image"]
    assert answer["success"] and len(images) == 1, answer
    mime = images[0].mime_type if sdk.IS_SECOND else images[0].mimeType
    assert mime == "image/png" and base64.b64decode(images[0].data).startswith(b"\x89PNG"), mime
    (artifact,) = answer["artifacts"]
    assert artifact["mime"] == "image/png" and "content_base64" not in artifact, artifact


@check
def standard_input_and_the_working_directory_are_taken(c, box):
    code = "import os, sys; print(os.getcwd(), sys.stdin.read())"
    answer = c.sandbox_execute(sandbox_id=box["sandbox_id"], code=code, stdin="in", working_dir="/tmp")
    assert answer["output"] == "/tmp in\n", answer
    assert c.sandbox_execute(sandbox_id=box["sandbox_id"], code=code)["output"] == "/home/user \n"


@check
def a_failing_program_keeps_its_output(c, box):
    code = "print('out'); raise ValueError('why')"
    answer = c.sandbox_execute(sandbox_id=box["sandbox_id"], code=code)
    assert (answer["success"], answer["status"], answer["exit_code"]) == (False, "failed", 1), answer
    assert answer["output"] == "out\n" and "ValueError: why" in answer["error"], answer


@check
def a_sandbox_stops_pauses_and_goes_on(c, box):
    made = c.sandbox_create(template="python", metadata={"for": "states"}, env_vars={"A": "1"})
    box = made["sandbox_id"]
    assert made["env_vars_configured"] == 1 and made["metadata"] == {"for": "states"}, made
    c.sandbox_upload(sandbox_id=box, file_path="kept", content="yes")
    code = "import os; print(open('kept').read(), os.environ['A'])"
    for verb, before, after in [
        ("pause", "running", "paused"),
        ("resume", "paused", "running"),
        ("stop", "running", "stopped"),
        ("resume", "stopped", "running"),
    ]:
        answer = c.call(f"sandbox_{verb}", sandbox_id=box)
        assert (answer["previous_status"], answer["status"]) == (before, after), answer
        assert c.sandbox_status(sandbox_id=box)["status"] == after
        if after == "running":
            assert c.sandbox_execute(sandbox_id=box, code=code)["output"] == "yes 1\n"
        else:
            c.refused("SANDBOX_NOT_RUNNING", "sandbox_execute", sandbox_id=box, code="1")
    status = c.sandbox_status(sandbox_id=box)["sandbox"]
    assert status["metadata"] == {"for": "states"} and status["executions"]["completed"] == 2, status
    assert status["resources"]["memory_bytes"] > 0 and status["expires_in"] > 3000, status


@check
def set_up_commands_are_run(c, box):
    made = c.sandbox_create(template="python", startup_script="echo up > started", timeout=120)
    answer = c.sandbox_configure(sandbox_id=made["sandbox_id"], run_commands=["cat started", "false", "echo no"])
    assert answer["success"] is False, answer
    assert [r["exit_code"] for r in answer["commands_executed"]] == [0, 1], answer
    assert answer["commands_executed"][0]["output"] == "up\n", answer


@check
def what_happened_is_on_record(c, box):
    box = box["sandbox_id"]
    mark = secrets.token_hex(8)
    c.sandbox_execute(sandbox_id=box, code=f"import sys; print('out {mark}'); print('err {mark}', file=sys.stderr)")
    for source, word in [("stdout", f"out {mark}"), ("stderr", f"err {mark}")]:
        logs = c.sandbox_logs(sandbox_id=box, source=source)
        assert any(line["message"] == word for line in logs["logs"]), logs
        assert all(line["source"] == source for line in logs["logs"]) and logs["count"] == len(logs["logs"])
    assert c.sandbox_logs(sandbox_id=box, lines=1)["count"] == 1
    audit = c.audit_log(sandbox_id=box, event="sandbox.create")
    (entry,) = audit["entries"]
    assert entry["actor"] == "agent" and entry["sandbox_id"] == box and len(entry["hash"]) == 64, entry
    assert c.audit_log(limit=1)["count"] == 1


@check
def the_system_says_how_it_is(c, box):
    health = c.system_health()
    assert health["status"] in ["ok", "degraded"] and health["sandboxes"]["running"] >= 1, health
    (python,) = [t for t in c.template_list()["templates"] if t["name"] == "python"]
    assert python["status"] == "ready" and python["language"] == "python", python
    packages = {p["name"].lower() for p in c.template_get(template_name="python")["template"]["packages"]}
    assert {"numpy", "pandas", "ta-lib"} <= packages, packages


@check
def a_slow_call_shows_signs_of_life(c, box):
    seen = []

    async def progress(done, total, message):
        seen.append((done, message))

    answer = c.sandbox_execute(
        sandbox_id=box["sandbox_id"], code="import time; time.sleep(6.5); print('done')", progress=progress
    )
    assert answer["output"] == "done\n", answer
    assert len(seen) >= 1 and seen == sorted(seen, key=lambda step: step[0]), seen
    assert all(message for _, message in seen), seen


@check
def a_cancelled_call_leaves_the_program_to_its_own_end(c, box):
    made = c.sandbox_create(template="python")
    code = "import time; time.sleep(2); open('end', 'w').write('reached')"
    arguments = {"sandbox_id": made["sandbox_id"], "code": code}
    anyio.from_thread.run(c.tools.give_up_after, 0.7, "sandbox_execute", arguments)
    # The connection is as good as before.
    assert c.sandbox_status(sandbox_id=made["sandbox_id"])["sandbox"]["executions"]["running"] == 1
    end = time.monotonic() + 20
    while c.sandbox_status(sandbox_id=made["sandbox_id"])["sandbox"]["executions"]["completed"] != 1:
        assert time.monotonic() < end, "the program did not reach its end"
        time.sleep(0.1)
    assert c.sandbox_download(sandbox_id=made["sandbox_id"], file_path="end")["content"] == "reached"


@check
def many_calls_at_once_get_their_own_answers(c, box):
    answers = {}

    async def one(i):
        arguments = {"sandbox_id": box["sandbox_id"], "code": f"print({i})"}
        answers[i] = (await c.tools.call("sandbox_execute", arguments))["output"]

    async def all_of_them():
        async with anyio.create_task_group() as group:
            for i in range(12):
                group.start_soon(one, i)

    anyio.from_thread.run(all_of_them)
    assert answers == {i: f"{i}\n" for i in range(12)}, answers


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--era", choices=["legacy", "modern"], required=True)
    parser.add_argument("--url")
    parser.add_argument("--token-file", type=pathlib.Path)
    parser.add_argument("--only", help="the check of this name alone")
    parser.add_argument("--without", choices=[function.__name__ for function in CHECKS], help="all checks but this one")
    parser.add_argument("--stdio", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    token = args.token_file and args.token_file.read_text().strip()
    async with sdk.connect(stdio=args.stdio, url=args.url, token=token, era=args.era) as tools:
        expected = "2025-11-25" if args.era == "legacy" else "2026-07-28"
        assert tools.era == expected, f"the connection speaks {tools.era}, not {expected}"
        held, failed = await anyio.to_thread.run_sync(every_check, Connection(tools), args.only, args.without)
    print(f"mcp {sdk.VERSION}, {tools.era}: {held} held, {failed} failed")
    return failed != 0 or held == 0


def every_check(c, only, without):
    """Tries everything, and answers how much held and how much failed."""
    box = c.sandbox_create(template="python")
    held = failed = 0
    for function in CHECKS:
        if only not in [None, function.__name__] or function.__name__ == without:
            continue
        begin = time.monotonic()
        fact = function.__name__.replace("_", " ")
        try:
            function(c, box)
        except Exception:
            failed += 1
            print(f"FAILED        {fact}\n{traceback.format_exc()}", flush=True)
        else:
            held += 1
            print(f"ok {time.monotonic() - begin:6.2f} s  {fact}", flush=True)
    for made in c.made:
        c.sandbox_delete(sandbox_id=made["sandbox_id"])
    return held, failed


if __name__ == "__main__":
    sys.exit(anyio.run(main))
