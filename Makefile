# Each check is defined here once, and called by people, hooks and CI alike.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: demo test lint types unit test-faults test-outside test-systemd bench build release clean

demo: $(VENV)/.ready  ## the main job on the example workspaces
	@examples/demo.sh $(BIN)/agentic-watch

test: lint types unit  ## all checks

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-test
	$(BIN)/mypy

unit: $(VENV)/.ready-test
	$(BIN)/pytest -n 4 -m "not faults and not systemd and not fleet and not browser and not monitoring"  # tests wait more than they work

test-faults: $(VENV)/.ready-test  ## kills at every step, power cuts, attacks at full size: minutes
	$(BIN)/pytest -n 2 --dist worksteal -m faults

test-outside: $(VENV)/.ready-test  ## in Chromium, by Prometheus and node_exporter (Debian's packages)
	$(BIN)/pytest -n 2 -m "browser or monitoring"

test-systemd: $(VENV)/.ready-test  ## under a real systemd booted in namespaces (root)
	$(BIN)/pytest -m systemd -s

.PHONY: fuzz
fuzz: $(VENV)/.ready-test  ## random moves over two roots, 20,000 passes against the model; one seed again: make fuzz FUZZ="--seed 7 --only"
	cd tests && ../$(BIN)/python -m fuzz $(FUZZ)

.PHONY: soak
soak: $(VENV)/.ready-test  ## a simulated host for minutes; for hours: make soak SOAK="--minutes 300"
	cd tests && ../$(BIN)/python -m soak $(SOAK)

.PHONY: test-fleet
test-fleet: $(VENV)/.ready-test  ## what a fleet asks of a server, against Debian's PostgreSQL and pgbouncer
	AGENTIC_WATCH_TEST_POSTGRES=debian $(BIN)/pytest -n 2 -m "not faults" tests/fleet

bench: $(VENV)/.ready-bench $(VENV)/.ready-test  ## the goals, each beside its floor, in a quarter of an hour; all: make bench BENCH=--long
	$(BIN)/python -m benchmarks --goals $(BENCH)

build: $(VENV)/.ready-test  ## wheel and sdist in dist/
	rm -rf dist
	$(BIN)/pip install -q build
	$(BIN)/python -m build

release: build  ## … and a Debian package, a lock file with hashes, a bill of materials, checksums
	release/deb.sh dist/agentic_watch-*.whl dist
	$(BIN)/python release/lock.py dist/agentic_watch-*.whl dist
	cd dist && sha256sum *.whl *.tar.gz *.deb requirements.lock sbom.cdx.json > SHA256SUMS

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/pip install -q --editable .
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	$(BIN)/pip install -q --group test
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready
	$(BIN)/pip install -q --group bench
	@touch $@

clean:
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache benchmarks/out

.PHONY: reference
reference: $(VENV)/.ready-test  ## docs/reference.md and the manual page, as the commands are now
	$(BIN)/python docs/from_commands.py
