"""Runs the integration tests of the workspace, two programs beside each other: most of them wait for a sandbox most of the time.

    python3 xtask/lanes.py ARGUMENTS OF `cargo test`... [-- ARGUMENTS OF EACH PROGRAM...]

The first builds the Python template, which is waiting for the most part, beside programs that need neither that nor a daemon. Programs
whose tests measure, or fill the machine on purpose, come next and run alone; then all others. What a program prints comes at its end
and in one piece, as `cargo test` would print it, with the processor time that the whole machine spent meanwhile: where that is little,
programs wait. Ends with 1 if a program failed, and names it.
"""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

# (package, program). It is a short one: what it does first is to build the template that others look for.
BUILDER = ("ringfence", "access")
# Packages whose tests have no daemon, but for programs that look for the template.
WITHOUT_DAEMON = [f"ringfence-{name}" for name in ("backtest", "store", "egress", "jail", "model", "server", "guest")]
WITH_TEMPLATE = [("ringfence-jail", "poison")]
# What measures, or fills the machine on purpose.
ALONE = [
    ("ringfence", "attacks"),
    ("ringfence", "engine"),
    ("ringfence", "differential"),
    ("ringfence", "gate"),
    # It looks at every process of the shared daemon, and knows what programs of its own sandboxes hold.
    ("ringfence", "privilege"),
    # Ten heavy sandboxes at once, and how soon the daemon answers meanwhile.
    ("ringfence", "sweeps"),
    ("ringfence-research", "strategies"),
]
# What takes minutes begins early, so that no lane ends long after the other.
LONG = [("ringfence-store", "gate_secrets"), ("ringfence-backtest", "agreement"), ("ringfence-egress", "gate")]
LONG += [("ringfence-store", "trade_crash"), ("ringfence-engine", "trials")]
LONG += [("ringfence", name) for name in ("mcp", "export", "recovery", "images", "node", "backup", "dashboards", "venue", "trade_year")]
LANES = 2


def processor_seconds():
    """What the machine has spent of its processors since it was started."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def programs(arguments):
    """Compiles, and gives (package, program, directory, executable) of each."""
    command = [os.environ.get("CARGO", "cargo"), "test", *arguments, "--no-run", "--message-format=json-render-diagnostics"]
    found = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as cargo:
        for line in cargo.stdout:
            said = json.loads(line)
            if said["reason"] == "compiler-artifact" and said["executable"] and said["target"]["kind"] == ["test"]:
                directory = os.path.dirname(said["manifest_path"])
                # Both `path+file:///a/crates/engine#ringfence-engine@0.1.0` and `...#0.1.0` occur.
                package = said["package_id"].rpartition("#")[2].partition("@")[0]
                if package[0].isdigit():
                    package = said["package_id"].partition("#")[0].rpartition("/")[2]
                found.append((package, said["target"]["name"], directory, said["executable"]))
    if cargo.returncode != 0:
        sys.exit(cargo.returncode)
    return found


class Runner:
    def __init__(self, total, arguments):
        self.total, self.arguments = total, arguments
        self.running, self.ended, self.failed = {}, 0, []
        self.printing = threading.Lock()
        self.stopped = False

    def run(self, program):
        package, name, directory, executable = program
        if self.stopped:
            return
        began, spent = time.monotonic(), processor_seconds()
        # A file, not a pipe: a process that a failed test left behind would hold the pipe open.
        out = tempfile.TemporaryFile(mode="w+", errors="replace")
        child = subprocess.Popen(
            [executable, *self.arguments], cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        with self.printing:
            self.running[program] = child
        child.wait()
        out.seek(0)
        said = out.read()
        out.close()
        with self.printing:
            del self.running[program]
            self.ended += 1
            if child.returncode != 0:
                self.failed.append(f"-p {package} --test {name}")
            took = time.monotonic() - began
            beside = ", ".join(sorted(other[1] for other in self.running)) or "nothing"
            spent = processor_seconds() - spent
            print(
                f"     Running tests of {package}, {name} ({executable}): {self.ended} of {self.total}, {took:.0f} s,"
                f" processors {spent:.0f} s, now runs: {beside}"
            )
            print(said, end="" if said.endswith("\n") else "\n", flush=True)
            if child.returncode not in (0, 101, 1):
                print(f"{name} ended with {child.returncode}", flush=True)

    def stop(self, *_):
        self.stopped = True
        for child in list(self.running.values()):
            child.send_signal(signal.SIGINT)


def main():
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    found = programs(arguments[:split])
    runner = Runner(len(found), arguments[split + 1 :])
    signal.signal(signal.SIGINT, runner.stop)
    signal.signal(signal.SIGTERM, runner.stop)
    key = lambda program: program[:2]
    named = [BUILDER, *WITH_TEMPLATE, *ALONE, *LONG]
    missing = [f"{package} {name}" for package, name in named if (package, name) not in map(key, found)]
    if missing:
        sys.exit(f"lanes: there are no such tests: {', '.join(missing)}")

    def beside_each_other(programs):
        with concurrent.futures.ThreadPoolExecutor(LANES) as lanes:
            list(lanes.map(runner.run, programs))

    found.sort(key=lambda program: (LONG.index(key(program)) if key(program) in LONG else len(LONG), key(program)))
    without = [program for program in found if program[0] in WITHOUT_DAEMON and key(program) not in WITH_TEMPLATE + ALONE]
    first = [program for program in found if key(program) == BUILDER] + without
    beside_each_other(first)
    for wanted in ALONE:
        runner.run(next(program for program in found if key(program) == wanted))
    beside_each_other([program for program in found if program not in first and key(program) not in ALONE])
    if runner.stopped:
        sys.exit(130)
    if runner.failed:
        print(f"error: {len(runner.failed)} targets failed:", *(f"    `{name}`" for name in runner.failed), sep="\n")
        sys.exit(1)


main()
