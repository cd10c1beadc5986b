# `make demo` and `make test` need nothing but Python 3.11+ and make; they create .venv and install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint format bench bench-quick evidence evidence-solvers evidence-sd15 evidence-memory evidence-prompts evidence-resume evidence-coverage evidence-claims docs clean

demo: $(VENV)/core
	$(BIN)/sfumato demo --out demo

test: $(VENV)/test
	$(BIN)/python -m pytest -n auto --dist loadfile

# Types are checked with the tests' libraries there: without them pyright guesses what their decorators return.
lint: $(VENV)/lint $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Measure on a machine that does nothing else; the second writes no results that are kept.
bench: $(VENV)/bench
	$(BIN)/python -m bench.speed

bench-quick: $(VENV)/bench
	$(BIN)/python -m bench.speed --quick

evidence: $(VENV)/test
	$(BIN)/python bench/mutations.py
	$(BIN)/python bench/recipes.py
	$(BIN)/sfumato evaluate emoji --out runs/evaluation
	cp runs/evaluation/report.json bench/results/emoji.json
	$(BIN)/python tools/memorisation_card.py runs/evaluation/report.json src/sfumato/assets/models/emoji

evidence-solvers: $(VENV)/test
	$(BIN)/python bench/solvers.py

evidence-sd15: $(VENV)/test
	$(BIN)/python bench/sd15.py

evidence-memory: $(VENV)/test
	$(BIN)/python bench/memory.py

evidence-prompts: $(VENV)/test
	$(BIN)/python bench/prompts.py emoji-text
	$(BIN)/python bench/prompts.py emoji-64

evidence-resume: $(VENV)/test
	$(BIN)/python -m bench.soak

evidence-coverage: $(VENV)/test
	$(BIN)/python -m bench.coverage

# Stopped, it goes on where it was: pictures are kept in runs/claims.
evidence-claims: $(VENV)/test
	$(BIN)/python bench/claims.py

docs: $(VENV)/docs
	$(BIN)/python -m sphinx -W -q docs docs/_build/html
	@echo docs/_build/html/index.html

clean:
	rm -rf $(VENV) demo docs/_build .pytest_cache .ruff_cache

$(VENV)/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	touch $@

# Each stamp is an editable install of the package with one set of extras, at the versions of constraints.txt.
$(VENV)/core: $(VENV)/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/test $(VENV)/lint $(VENV)/docs $(VENV)/bench: $(VENV)/%: $(VENV)/core
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[$*]'
	touch $@
