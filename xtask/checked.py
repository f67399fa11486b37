#!/usr/bin/env python3
"""What `make test` has cargo call in place of rustc for the crates of this workspace (RUSTC_WORKSPACE_WRAPPER): one compilation
that also lints and documents, where `cargo clippy` and `cargo doc` would each check every dependency anew.

    xtask/checked.py RUSTC ARGUMENTS OF RUSTC...

A crate is compiled by clippy-driver, which is rustc with Clippy's lints, and where `cargo doc` would document it, by rustdoc as well;
a warning of either is an error. Both print what cargo reads, so that it reports them as its own. Dependencies are rustc's alone.
"""

import os
import subprocess
import sys

# Of an argument that is two words, the second belongs to it. What of them rustdoc is given says what a crate is made of, and its lints.
TAKES_A_WORD = {"--crate-name", "--crate-type", "--cfg", "--check-cfg", "--extern", "--out-dir", "--target"}
TAKES_A_WORD |= {"-L", "-C", "-A", "-W", "-D", "-F"}
FOR_RUSTDOC = ("--crate-name", "--crate-type", "--cfg", "--check-cfg", "--extern", "--edition", "--error-format", "--json", "--target")
FOR_RUSTDOC += ("-L", "-A", "-W", "-D", "-F", "--allow", "--warn", "--deny", "--forbid")

# Crates whose own tests take longer to optimise than to run.
PLAIN_TESTS = ("ringfence_egress", "ringfence_jail")


def read(arguments):
    """Gives (name, value, words) of each argument, and (None, source, words) of the file that is compiled."""
    rest = iter(arguments)
    for word in rest:
        if word in TAKES_A_WORD:
            second = next(rest)
            yield word, second, [word, second]
        elif word.startswith("-"):
            name, _, second = word.partition("=")
            yield name, second, [word]
        else:
            yield None, word, [word]


def main():
    rustc, arguments = sys.argv[1], sys.argv[2:]
    # Cargo's questions to the compiler come here too, and what build scripts run, which find this program in their environment: probes
    # of what the compiler can, and the first process of a sandbox, which is the product's own also in tests.
    is_of_build_script = {"NUM_JOBS", "OPT_LEVEL", "OUT_DIR"} <= os.environ.keys()
    if is_of_build_script or "--out-dir" not in arguments:
        os.execvp(rustc, [rustc, *arguments])

    def run(tool, *arguments):
        # They lie beside each other, wherever that is, and share cargo's jobserver, whose descriptors they inherit.
        path = os.path.join(os.path.dirname(rustc), tool)
        try:
            ended = subprocess.run([path, *arguments], close_fds=False).returncode
        except FileNotFoundError:
            sys.exit(f"{path} is missing: rustup component add clippy")
        if ended != 0:
            sys.exit(ended if ended > 0 else 128 - ended)

    given = list(read(arguments))
    first = {name: value for name, value, _ in reversed(given)}
    out, source = first["--out-dir"], first[None]
    place = os.path.dirname(source).split("/")
    # What a program of tests does by itself takes no time, and to optimise the gate's took minutes; so it is with the tests inside of the
    # largest crates. What rustc adds where nothing is optimised stays off, as in the profile.
    is_plain = "src" not in place if "tests" in place else "--test" in first and first["--crate-name"] in PLAIN_TESTS
    plain = ["opt-level=0", "debug-assertions=off", "overflow-checks=off"] if is_plain else []
    run("clippy-driver", rustc, *arguments, *(word for option in plain for word in ("-C", option)), "-D", "warnings")

    # Tests, examples and build scripts lie elsewhere.
    if "--test" not in first and "src" in place:
        kept = [word for name, _, words in given if name in FOR_RUSTDOC for word in words]
        # As cargo does: what is private in a library is nobody's, and in an executable everything is.
        private = ["--document-private-items", "-Arustdoc::private-intra-doc-links"] if first["--crate-type"] == "bin" else []
        # PROFILE/deps of the target directory.
        documents = os.path.normpath(os.path.join(out, "../../doc"))
        run("rustdoc", source, *kept, *private, "-o", documents, "-D", "warnings")

    # Another wrapper is another compilation: the file in which cargo looks for the sources of this crate names this one too.
    named = next(value.removeprefix("extra-filename=") for _, value, _ in given if value.startswith("extra-filename="))
    sources = os.path.join(out, f"{first['--crate-name']}{named}.d")
    this = os.path.realpath(__file__).replace(" ", "\\ ")
    with open(sources) as file:
        said = file.read()
    with open(sources, "w") as file:
        file.write(said.replace("\n", f" {this}\n", 1))


main()
