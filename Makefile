# A fresh clone needs Python 3.11 or newer, make and a package index. Everything is installed into .venv; nothing else is
# touched. Each file .venv/installed-* says that its pip has finished, so that a second call starts at once.

PYTHON ?= python3

.PHONY: demo test quick check fix pages clean

demo: .venv/installed-package  ## the main job on the built-in pictures, into ./verydeep-demo
	.venv/bin/verydeep demo

# One thread a process, and a process a core: most of a test is Python. The tests of a file stay together, for their fixtures.
TESTS = OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --dist loadfile

test: .venv/installed-test  ## every test
	$(TESTS)

quick: .venv/installed-test  ## the tests that take under a minute in all
	$(TESTS) -m "not slow"

check: .venv/installed-check  ## format, lint, types, the direction of imports, docs/paper.md; writes nothing
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m verydeep.studies.paper_page --check docs/paper.md

fix: .venv/installed-check  ## what ruff can mend by itself
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

pages: .venv/installed-package  ## the tables of README.md and docs/, and docs/paper.md, anew from docs/results
	.venv/bin/python -m verydeep.studies.pages README.md docs
	.venv/bin/python -m verydeep.studies.paper_page docs/paper.md

clean:
	rm -rf .venv

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "verydeep needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv --clear .venv
	touch $@

.venv/installed-package: pyproject.toml | .venv/made
	.venv/bin/python -m pip install --editable .
	touch $@

# The package and its extra go through one resolution, so that pip picks a torch and a torchvision that belong together.
.venv/installed-%: pyproject.toml | .venv/made
	.venv/bin/python -m pip install --editable '.[$*]'
	touch $@
