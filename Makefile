# make report   environment, data, runs, pages, book          make test   all tests
# make help     everything else
PYTHON  ?= python3
PROFILE ?= auto
REPORTS ?= reports
VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help report test env readme export clean distclean lock

help:
	@echo "make report [PROFILE=auto|smoke|cpu|full] [REPORTS=reports]   train, evaluate, build the book"
	@echo "make test        notebooks and pytest"
	@echo "make env         the environment alone, in $(VENV)"
	@echo "make export      after editing nbs/: clean the notebooks, write dcgan_nb/ and README.md"
	@echo "make lock        resolve the versions in constraints.txt anew"
	@echo "make clean       remove the pages and the book, keep the runs; make distclean removes all that was made"

report: $(READY)
	@snakemake --snakefile workflow/Snakefile --cores all --quiet all --rerun-incomplete --config profile=$(PROFILE) "reports=$(REPORTS)"
	@echo "The book: open $(REPORTS)/_build/html/index.html"

test: $(READY)
	@echo "notebooks" && OMP_NUM_THREADS=1 nbdev_test --path nbs --file_re '^[0-9][0-9]_' --n_workers 2 --timing
	@echo "pytest" && pytest

env: $(READY)

# Everything that is installed, building included, is pinned by constraints.txt.
$(READY): constraints.txt settings.ini setup.py pyproject.toml
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing torch (some minutes, once)"
	@python -m pip install -q torch torchvision
	@echo "installing the other packages"
	@python -m pip install -q -e '.[dev]'
	@touch $@

export: $(READY)
	nbdev_clean && nbdev_clean --fname nbs/chapters && nbdev_export && $(MAKE) --no-print-directory -s readme > README.md

# The text of the front page, without its code.
readme: $(READY)
	@jupyter nbconvert --log-level WARN --to markdown --TemplateExporter.exclude_code_cell=True --stdout nbs/index.ipynb | sed 's#](assets/#](nbs/assets/#g'

# Versions that constraints.txt has already stay; delete lines, or all, to let them move.
lock:
	$(PYTHON) -m venv $(VENV)/lock && PIP_CONSTRAINT= $(VENV)/lock/bin/python -m pip install -q uv
	$(VENV)/lock/bin/uv pip compile -q --no-cache --universal --python-version 3.10 --no-header --extra dev setup.py -o constraints.txt
	@echo "setuptools is needed to build:"; grep '^setuptools==' constraints.txt

clean:
	rm -rf $(REPORTS)/book $(REPORTS)/_build
distclean: clean
	rm -rf $(REPORTS)/runs $(VENV) .snakemake
