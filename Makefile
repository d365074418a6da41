# The commands of the project. `make demo` and `make test` need Python 3.11, make, and Debian's package
# archive; they install nothing on the machine: Python packages go to .venv, programs to .tools.
SHELL := /bin/sh
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.tools/usr/bin:$(PATH)
ARGS ?=

.PHONY: run demo test bench stack alertmanager-preview tools lock docs dashboards evaluation replication accept clean

run: .venv/.ready  ## follow the real venues until Ctrl-C
	@exec monitor run $(ARGS)

demo: .venv/.ready  ## simulated venues, the monitor and a Prometheus, until Ctrl-C
	@.ci/binaries .tools || echo "demo: going on without Prometheus"
	@exec monitor demo $(ARGS)

test: .venv/.ready tools  ## everything that must hold
	@pytest -n 4 --dist worksteal -m "not live" $(ARGS) || [ $$? = 5 ]  # 5: none of these was asked for
	@pytest -n 2 --dist loadgroup -m live $(ARGS) || [ $$? = 5 ]

bench: .venv/.ready  ## speed, as ratios measured side by side
	@exec python tests/bench.py $(ARGS)

stack: .venv/.ready tools  ## the live monitor, Prometheus and Alertmanager, until Ctrl-C
	@exec monitor stack $(ARGS)

alertmanager-preview: .venv/.ready tools  ## every alert as each channel shows it, in build/notifications
	@exec python tests/preview.py $(ARGS)

tools:  ## Prometheus, Alertmanager, mosquitto and the checkers, as Debian packs them, unpacked here
	@.ci/binaries .tools
	@.ci/binaries .tools/bookworm bookworm

docs: .venv/.ready  ## the generated pages
	monitor metrics --markdown > docs/METRICS.md

dashboards: .venv/.ready  ## grafana/dashboards, from grafana/boards
	python -m grafana.boards

replication: .venv/.ready  ## docs/REPLICATION.md, from the prices beside the repository
	python -m monitor.commands.replication --history ../shared/history > replication.new && mv replication.new docs/REPLICATION.md

evaluation: .venv/.ready tools  ## docs/EVALUATION.md, from ../shared/history
	@cd tests && exec python -m evaluation

lock: .venv/.ready  ## exact versions of what pyproject.toml allows
	{ echo '# Exact versions, made by `make lock` from pyproject.toml.'; \
	  uv pip compile -q --extra dev --generate-hashes --no-emit-index-url --no-header \
	  --python-version 3.11 --universal pyproject.toml; } > requirements.new && mv requirements.new requirements.lock

clean:  ## what was made here
	rm -rf .venv .tools build *.egg-info

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12")'
	@$(PYTHON) -m venv .venv || { echo "apt-get install python3-venv"; exit 1; }
	@echo "installing Python packages into .venv"
	@.venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@
