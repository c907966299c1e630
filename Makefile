# Two commands matter: `make run` serves, `make test` proves. Everything they make lies in .venv, .tools,
# sealgate-data and sealgate-keys; neither ever asks for root. `make help` lists the rest.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run install check test test-full bench bench-full tools support lock clean

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that is new enough and can make an environment; PYTHON=path names another one.
PYTHON ?=
DATA ?=
PORT ?=

# An empty or unwritable home must stop nothing: caches then go to .tools.
ifneq ($(shell test -n "$$HOME" -a -d "$$HOME" -a -w "$$HOME" && echo yes),yes)
export HOME := $(CURDIR)/.tools/home
endif

# Sets $$python, or prints the one line that installs what is missing and leaves with 2.
define find_python
python=; seen=; \
for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.14 python3.13 python3.12 python3.11); do \
  command -v "$$candidate" >/dev/null 2>&1 || continue; \
  "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { seen="$${seen:-old}"; continue; }; \
  seen=new; \
  "$$candidate" -c 'import venv, ensurepip' 2>/dev/null && { python="$$candidate"; break; }; \
done; \
if [ -z "$$python" ]; then \
  case "$$seen" in \
    new) echo "The venv module of Python is missing. This line, run as root, installs it:" >&2 ;; \
    *) echo "Python 3.11 or later is missing. This line, run as root, installs it:" >&2 ;; \
  esac; \
  if command -v apt-get >/dev/null 2>&1; then \
    case "$$seen" in \
      old) echo "apt-get install -y python3.11 python3.11-venv" >&2 ;; \
      *) echo "apt-get install -y python3 python3-venv" >&2 ;; \
    esac; \
  elif command -v dnf >/dev/null 2>&1; then echo "dnf install -y python3.11" >&2; \
  elif command -v brew >/dev/null 2>&1; then echo "brew install python@3.12    (not as root)" >&2; \
  else echo "the package manager's python3 and python3-venv, version 3.11 or later" >&2; \
  fi; \
  exit 2; \
fi
endef

# $(call environment,<stamp name>,<lock>): brings .venv to the lock and the project, or does nothing when the
# stamp says that it is there. The project is installed editable, by the locked hatchling and not in isolation,
# so that nothing is fetched that the lock does not name with its hash. --no-deps, since the lock is whole and pip would
# otherwise look for a newer release of what another package asks for with extras, and then refuse it for its hash.
define environment
$(find_python); \
want=$$(cat $(2) pyproject.toml | cksum); \
if [ ! -x $(BIN)/python ] || [ "$$(cat $(VENV)/.$(1) 2>/dev/null)" != "$$want" ]; then \
  count=$$(grep -c '^[a-z0-9]' $(2)); \
  echo "Installing $$count packages into $(VENV) from $(2): once, about a minute with a good connection" && \
  { [ -x $(BIN)/python ] && $(BIN)/python -m pip --version >/dev/null 2>&1 || "$$python" -m venv --clear $(VENV); } && \
  { $(BIN)/python -m pip install --progress-bar off --disable-pip-version-check --require-hashes --no-deps -r $(2); echo "left $$?"; } | $(told) && \
  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e . && \
  echo "$$want" > $(VENV)/.$(1) && echo "Installed" || exit 1; \
fi
endef

# What pip says, as how far it is; and the code that it left with, which a pipe would lose.
define told
{ \
  done=0; \
  while read -r word rest; do \
    case "$$word" in \
      Collecting|Requirement) done=$$((done + 1)); [ $$((done % 10)) -ne 0 ] || echo "  $$done of $$count fetched" ;; \
      Installing) echo "  all fetched; unpacking them takes another few seconds" ;; \
      left) exit "$$rest" ;; \
    esac; \
  done; \
}
endef

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run:  ## install and serve [DATA=folder] [PORT=number]; the first start creates everything
	@$(call environment,run,docker/requirements.lock); \
	exec $(BIN)/python -P $(BIN)/sealgate serve $(if $(DATA),--data "$(DATA)") $(if $(PORT),--port "$(PORT)")

install:  ## bring .venv to the tests' lock
	@$(call environment,dev,tests/requirements.lock)

check: install  ## format, lint, strict types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The runner leaves with 3 where a tool is missing. make shows that as "Error 3", and its own exit code for any failed
# recipe is 2.
test: install  ## check and every test; exit 3 where a tool is missing, unless ALLOW_MISSING=1
	@exec $(BIN)/python -m tests.tooling test

test-full: install  ## the long form of make test
	@exec $(BIN)/python -m tests.tooling test --full

bench: install  ## measure against nginx, side by side, into docs/BENCH.md; at most five minutes
	@exec $(BIN)/python -m tests.bench

bench-full: install  ## the long form of make bench
	@exec $(BIN)/python -m tests.bench --full

tools: install  ## fetch the clients that the tests drive into .tools
	@exec $(BIN)/python -m tests.tooling tools

support: install  ## write docs/S3-SUPPORT.md from the operation table
	@exec $(BIN)/python -m tests.tooling support

lock: install  ## write the hash-locked requirements anew
	@exec $(BIN)/python -m tests.tooling lock

clean:  ## remove .venv, .tools and caches; never data or keys
	rm -rf $(VENV) .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* build dist
	find gateway storage keys tests docker -name __pycache__ -type d -prune -exec rm -rf {} +
