# `make run` and `make test` need git, make and Python >= 3.11 with pip, nothing else.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.surefoot-ready

.PHONY: run test fuzz check lint types layers bench-accuracy bench-content bench-fraud bench-batch bench-chaos bench-guard bench-parsing \
	bench-paid-calls bench-savers suite-langgraph studio docs notebooks lock clean help

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

run: $(STAMP) ## the support pipeline over the shipped tickets, without a key or a server
	@$(BIN)/surefoot run support examples/tickets.jsonl --provider embedded --out out/tickets.jsonl; \
	status=$$?; [ $$status -eq 3 ] && exit 0 || exit $$status

test: $(STAMP) check ## everything that is tested
	$(BIN)/python -m pytest -n 4 --dist loadgroup --no-loadscope-reorder

fuzz: $(STAMP) ## new random examples for the property tests, for some minutes
	SUREFOOT_TEST_HYPOTHESIS=fuzz $(BIN)/python -m pytest -q --timeout 1800 tests/test_saver_values.py \
		tests/test_call_reask.py tests/test_checks.py tests/test_reducers.py

check: lint types layers ## style, types and import layers

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/mypy examples/usage.py

layers: $(STAMP)
	$(BIN)/lint-imports

bench-accuracy: $(STAMP) ## accuracy of the embedded models
	$(BIN)/python benchmarks/support_accuracy.py

bench-chaos: $(STAMP) ## four ways through an endpoint that misbehaves
	$(BIN)/python benchmarks/chaos.py

bench-guard: $(STAMP) ## what the guard of all calls costs and holds
	$(BIN)/python benchmarks/guard.py

bench-parsing: $(STAMP) ## malformed answers that become right values
	$(BIN)/python benchmarks/parsing.py

bench-paid-calls: $(STAMP) ## kill -9 at random during 500 paid calls
	$(BIN)/python benchmarks/paid_calls.py

bench-savers: $(STAMP) ## our savers beside others; SUREFOOT_BENCH_PEERS is where those are installed
	$(BIN)/python benchmarks/savers.py

suite-langgraph: ## LangGraph's own tests on our savers, beside its in-memory and SQLite ones; fetches them from PyPI
	$(PYTHON) benchmarks/langgraph_suite.py

bench-content: $(STAMP) ## the gates on planted bad summaries
	$(BIN)/python benchmarks/content_gates.py

bench-fraud: $(STAMP) ## the seven fraud models and their vote
	$(BIN)/python benchmarks/fraud_accuracy.py

bench-batch: $(STAMP) ## what batches of ten save, lose and change
	$(BIN)/python benchmarks/batch.py

studio: $(STAMP) ## LangGraph Studio's server on the graphs
	LANGGRAPH_CLI_NO_ANALYTICS=1 LANGGRAPH_NO_VERSION_CHECK=1 $(BIN)/langgraph dev --no-browser --host 127.0.0.1 --n-jobs-per-worker 10

docs: $(STAMP) ## the documentation as a site, in out/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir out/docs

notebooks: $(STAMP) ## run the notebooks and store their outputs
	$(BIN)/python notebooks/execute.py

# pip installs into the new environment from outside, because some systems ship Python without ensurepip. The lock is also
# the constraint: older pips look for `package[extra]`, which a lock cannot name, and take the newest that they find.
$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "surefoot needs Python 3.11 or newer; none was found" >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --require-hashes -r requirements.lock -c requirements.lock
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# From nothing: hashes of an earlier file or of a cache would be kept, and they may be those of one platform only.
lock: ## write requirements.lock anew (needs uv)
	rm -f requirements.lock
	uv pip compile --no-cache pyproject.toml --universal --all-extras --group dev --generate-hashes --no-emit-index-url \
		--no-header --python-version 3.11 -o requirements.lock

clean: ## remove what was installed and written
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .langgraph_api
