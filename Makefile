# The product is compiled in the release profile, tests in one that compiles in half of the time:
# docs/decisions/0057-tests-have-a-profile-of-their-own.md.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

CARGO ?= cargo
PREFIX ?= /usr/local
BIN := target/release/ringfence
TESTED := target/tested/ringfence
LOG := target/test.log
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PACKAGES := btrfs-progs debian-archive-keyring ca-certificates gcc
TEST_PACKAGES := python3 python3-venv strace $(if $(shell command -v npm),,npm)
BENCH_PACKAGES := bubblewrap crun
SUITE_PACKAGES := chromium fonts-dejavu-core python3-venv
TOOLS := target/tools
DENY := $(TOOLS)/bin/cargo-deny
AUDITABLE := $(TOOLS)/bin/cargo-auditable
FUZZ := $(TOOLS)/bin/cargo-fuzz
# rustup's place, for a root shell that has not read the profile.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help deps test-deps bench-deps suite-deps dist-deps build dist template demo test root checks unit integration bench suites otlp deny fuzz clean install

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Install the system packages that are missing (apt-get; sudo unless root)
	@$(call install-missing,$(PACKAGES))
	@command -v $(CARGO) >/dev/null || { echo "deps: cargo is missing; install Rust from https://rustup.rs"; exit 1; }

# The clients that tests run: Python's and Node's.
test-deps:
	@$(call install-missing,$(TEST_PACKAGES))

bench-deps:
	@$(call install-missing,$(BENCH_PACKAGES))

suite-deps: $(DENY)
	@$(call install-missing,$(SUITE_PACKAGES))

# Programs of others that check or build, compiled once; cargo verifies what it fetches.
$(DENY):
	$(CARGO) install --locked --root $(TOOLS) cargo-deny@0.20.2
$(AUDITABLE):
	$(CARGO) install --locked --root $(TOOLS) cargo-auditable@0.7.7
$(FUZZ):
	$(CARGO) install --locked --root $(TOOLS) cargo-fuzz@0.13.2

# Names what is missing, installs that, and is silent when nothing is.
define install-missing
missing=; \
if ! command -v dpkg-query >/dev/null; then \
	echo "deps: this is no Debian; these packages, or their like, must be there: $(1)"; exit 0; \
fi; \
for package in $(1); do \
	status=$$(dpkg-query -W -f='$${db:Status-Status}' $$package 2>/dev/null || true); \
	[ "$$status" = installed ] || missing="$$missing $$package"; \
done; \
if [ -n "$$missing" ]; then \
	echo "deps: installing with apt-get:$$missing"; \
	$(SUDO) apt-get update -q; \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
fi
endef

build: ## Compile target/release/ringfence
	$(CARGO) build --release --locked

dist-deps:
	@$(call install-missing,gcc python3)

# In a directory of its own: the wrapper of cargo-auditable would have everything compiled anew at each turn.
dist: dist-deps $(AUDITABLE) ## Build target/dist/release/ringfence, which carries the list of what it was built of
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" $(CARGO) auditable build --release --locked --target-dir target/dist
	python3 xtask/dist.py target/dist/release/ringfence Cargo.lock

template: build ## Build the Python template (minutes the first time; needs root and the network)
	$(SUDO) $(BIN) template build python

demo: deps ## Build everything, start the daemon, and show it working
	@echo "demo: 1/3 compiling (some minutes the first time)"
	@$(MAKE) --no-print-directory build
	@echo "demo: 2/3 building the Python template (some minutes the first time)"
	@$(MAKE) --no-print-directory template
	@echo "demo: 3/3 running"
	@$(SUDO) $(BIN) demo

# A step that fails ends the run, the cheap ones first. The last line counts the tests; a step that failed without a test's
# verdict (a warning, a compile error) counts as one failure, and a run without any test as well.
test: ## Format, lints, documentation, unit tests, integration tests (as root); ends with "N passed, N failed"
	@mkdir -p target; : > $(LOG)
	@status=0; \
	for step in root deps test-deps checks unit integration; do \
		$(MAKE) --no-print-directory $$step || { status=1; break; }; \
	done; \
	awk -v status=$$status ' \
		{ gsub(/\033\[[0-9;]*m/, "") } \
		/^test result: / { passed += $$4; failed += $$6 } \
		END { \
			if (failed == 0 && (status != 0 || passed == 0)) failed = 1; \
			printf "%d passed, %d failed\n", passed, failed; \
			exit failed != 0 \
		}' $(LOG)

root:
	@[ "$$(id -u)" = 0 ] || { echo "make test needs root: the integration tests build real sandboxes. Use: sudo make test"; exit 1; }

# One compilation that lints and documents as well: what `cargo clippy` and `cargo doc` find is found while the tests are compiled. Each
# step names the same wrapper, or cargo would compile the workspace again.
checks unit integration: export RUSTC_WORKSPACE_WRAPPER := $(CURDIR)/xtask/checked.py

checks:
	$(CARGO) fmt --all --check
	$(CARGO) build --profile tested --workspace --all-targets --locked

unit:
	$(CARGO) test --profile tested --workspace --locked --no-fail-fast --lib --bins 2>&1 | tee -a $(LOG)
	$(CARGO) test --profile tested --workspace --locked --no-fail-fast --doc 2>&1 | tee -a $(LOG)

# One daemon for all of them, with a state directory of its own in target/: the template is built once. It is stopped at the
# end, also after a failure.
TEST_HOME := $(CURDIR)/target/test-home
integration: root
	@trap '$(TESTED) --home $(TEST_HOME) stop >/dev/null 2>&1 || true' EXIT; \
	RINGFENCE_TEST_HOME=$(TEST_HOME) CARGO=$(CARGO) python3 xtask/lanes.py --profile tested --workspace --locked --test '*' -- --test-threads 4 2>&1 | tee -a $(LOG)

bench: bench-deps build ## Measure the promises of SPECIFICATION.md against bubblewrap, crun and bare python3
	$(SUDO) $(BIN) bench

suites: suite-deps deny ## The integration tests with the long ones: attacks, comparisons, SDKs, MCP conformance, tests of others, pages in a browser
	@RINGFENCE_LONG=1 $(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory otlp

# The one feature that is off by default. Its executable takes the place of the one in target/tested; the next `make test` links that anew.
otlp: root ## Lints and tests of a build with the feature otlp
	$(CARGO) clippy --profile tested -p ringfence --all-targets --features otlp --locked -- -D warnings
	$(CARGO) test --profile tested -p ringfence --features otlp --locked --bins otlp
	@trap '$(TESTED) --home $(TEST_HOME) stop >/dev/null 2>&1 || true' EXIT; \
	RINGFENCE_TEST_HOME=$(TEST_HOME) $(CARGO) test --profile tested -p ringfence --features otlp --locked --test otlp

# Advisories need RustSec's database from GitHub. Where it cannot be had, that is said and counts for nothing; the rest needs no network.
deny: $(DENY) ## Check licences, sources, bans and advisories of dependencies (deny.toml)
	$(DENY) --all-features --locked check bans licenses sources
	@if $(DENY) --all-features --locked fetch db >target/deny-fetch.log 2>&1; then \
		$(DENY) --all-features --locked check --disable-fetch advisories; \
	else \
		echo "deny: ADVISORIES WERE NOT CHECKED: RustSec's database could not be fetched (target/deny-fetch.log)"; \
	fi

# What a run finds is kept in target/fuzz-corpora; what of it reaches something new is brought into the repository by hand, with
# `cargo fuzz cmin`. The properties are beside the code that they are about: `make test` runs them over fuzz/corpus.
FUZZ_SECONDS ?= 900
FUZZ_TARGETS ?= hello http dns websocket order policy frames control image archive plan
FUZZ_BUILD := --fuzz-dir fuzz --sanitizer none --release --debug-assertions --target-dir target/fuzz
fuzz: $(FUZZ) ## Run every fuzz target for FUZZ_SECONDS (900) each; ends with a line for each
	@$(FUZZ) build $(FUZZ_BUILD)
	@mkdir -p target/fuzz-runs; status=0; \
	for target in $(FUZZ_TARGETS); do \
		mkdir -p target/fuzz-corpora/$$target; \
		echo "fuzz: $$target, $(FUZZ_SECONDS) s"; \
		target/fuzz/*/release/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=10 -rss_limit_mb=4096 \
			-print_final_stats=1 -artifact_prefix=target/fuzz-runs/$$target- \
			target/fuzz-corpora/$$target fuzz/corpus/$$target >target/fuzz-runs/$$target.log 2>&1 \
			|| { status=1; echo "fuzz: $$target found something: target/fuzz-runs/$$target.log"; }; \
	done; \
	for target in $(FUZZ_TARGETS); do \
		awk -v target=$$target '/ cov: / { for (i = 1; i < NF; i++) if ($$i == "cov:") cov = $$(i + 1) } \
			/stat::number_of_executed_units/ { runs = $$2 } /^SUMMARY:/ { found = found " " $$0 } \
			END { printf "%-10s %12d executions %6d edges %s\n", target, runs, cov, found == "" ? "nothing found" : found }' \
			target/fuzz-runs/$$target.log; \
	done; \
	exit $$status

clean: ## Remove what was compiled; state directories stay
	$(CARGO) clean

install: build ## Install the binary below PREFIX (/usr/local)
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/ringfence
