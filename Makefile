# The commands of the project. `make demo` and `make test` need Python 3.11, make, and Debian's package
# archive; they install nothing on the machine: Python packages go to .venv, programs to .tools.
SHELL := /bin/sh
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.tools/usr/bin:$(PATH)
ARGS ?=

.PHONY: run demo test bench stack tools lock docs accept clean

run: .venv/.ready  ## follow the real venues until Ctrl-C
	@exec monitor run $(ARGS)

demo: .venv/.ready  ## simulated venues, the monitor and a Prometheus, until Ctrl-C
	@.ci/binaries .tools || echo "demo: going on without Prometheus"
	@exec monitor demo $(ARGS)

test: .venv/.ready tools  ## everything that must hold
	@exec pytest $(ARGS)

bench: .venv/.ready  ## speed, as ratios measured side by side
	@exec python tests/bench.py $(ARGS)

stack: .venv/.ready tools  ## the live monitor beside a Prometheus with prometheus.yml, until Ctrl-C
	@trap 'kill $$pid 2>/dev/null' EXIT; \
	prometheus --config.file=prometheus.yml --storage.tsdb.path=.tools/data \
	  --storage.tsdb.retention.time=400d --web.listen-address=127.0.0.1:9090 --log.level=warn & pid=$$!; \
	echo "Prometheus   http://127.0.0.1:9090/"; monitor run $(ARGS)

tools:  ## Prometheus, Alertmanager, mosquitto as Debian packs them, unpacked here
	@.ci/binaries .tools

docs: .venv/.ready  ## the generated pages
	monitor metrics --markdown > docs/METRICS.md

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
