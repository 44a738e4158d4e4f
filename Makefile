# make report   environment, data, runs, pages, book          make test   all tests
# make study    the runs behind the verdicts                   make help   everything else
PYTHON  ?= python3
OUT     := $(or $(REPORTS),reports)
VENV    := $(or $(DCGAN_NB_VENV),.venv)
BIN     := $(VENV)/bin
READY   := $(VENV)/$(if $(HASHES),.hashes,.ready)
export PATH := $(abspath $(BIN)):$(PATH)
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# What each target may be given on make's command line. Names that it does not take are an error; values are handed on as they are, and checked by what is called.
TAKES.report      := PROFILE RUNS CORES REPORTS CONTAINER
TAKES.study       := CLAIM PROFILE SEEDS RUNGS MNIST RUNS CORES GPU_RUNS ON JOB_MINUTES REPORTS CONTAINER
TAKES.plan        := $(filter-out CONTAINER,$(TAKES.study))
TAKES.verdicts    := CLAIM RUNS REPORTS
TAKES.page        := CLAIM RUNS REPORTS
TAKES.runs        := REPORTS
TAKES.show        := RUN REPORTS
TAKES.audit       := CLAIM N RECORD MNIST REPORTS
TAKES.site        := URL CORES REPORTS
TAKES.pdf         := CORES REPORTS
TAKES.archive     := REPORTS
TAKES.publish     := REPORTS
TAKES.second-look := REPORTS
TAKES.endurance   := N KIND REPORTS
TAKES.bench       := BENCH DEVICE
TAKES.lab         := PORT
TAKES.test        := ALL
TAKES.watch       := PAGE PORT
TAKES.project     := NAME TITLE
TAKES.change      := WHY
TAKES.lock        := UPGRADE
TAKES.sbom        := REPORTS
TAKES.clean       := REPORTS
TAKES.distclean   := REPORTS
taken  := PYTHON HASHES $(foreach goal,$(MAKECMDGOALS),$(TAKES.$(goal)))
given  := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
$(foreach name,$(filter-out $(taken),$(given)),$(error make$(MAKECMDGOALS:%= %) does not take $(name); it takes $(or $(filter-out PYTHON HASHES,$(taken)),no names)))
MAKEOVERRIDES :=      # who is called does not hear what was said here: a command that itself calls make says what it wants

q       = '$(subst ','\'',$(1))'
option  = $(if $($(1)),--$(shell echo $(1) | tr A-Z_ a-z-)=$(call q,$($(1))))
OPTIONS = $(foreach name,$(filter-out CLAIM CONTAINER,$(TAKES.$@)),$(call option,$(name)))
CLAIMS  = $(if $(filter CLAIM,$(TAKES.$@)),$(foreach claim,$(CLAIM),$(call q,$(claim))))

.PHONY: help report site pdf archive study plan verdicts page runs show second-look publish audit verify seal bench container test test-cluster faults endurance env readme lab watch export project change clean distclean lock drift sbom vulnerabilities

help:
	@echo "make report [PROFILE=auto|smoke|cpu|full] [RUNS=published|own] [CORES=all] [REPORTS=reports] [CONTAINER=1]   train the examples, build the book"
	@echo "make study [CLAIM=ALL|\"A4 D2\"] [PROFILE=] [SEEDS=] [RUNGS=1 … 4] [MNIST=folder] [RUNS=] [CORES=all] [GPU_RUNS=4] [ON=local|slurm] [JOB_MINUTES=40] [REPORTS=]   train what the claims need, say what comes of it"
	@echo "make plan  the same names: what a study would run, what is done, and the expected minutes"
	@echo "make verdicts [CLAIM=] [RUNS=]   the verdicts in the terminal, in seconds          make page CLAIM=A4 [RUNS=]   the page of a claim alone"
	@echo "make runs        your own runs: finished, at work, failed, and why                 make show RUN=…   one run in full"
	@echo "make site [URL=https://…] [CORES=all] [REPORTS=reports]   the book of the published records, without training, as one folder to put anywhere"
	@echo "make pdf [CORES=all] [REPORTS=reports]   its verdict chapters as one PDF, by Chromium"
	@echo "make archive [REPORTS=reports]   one file with all that is published: code, lock, records, the built book, hashes and metadata (RO-Crate)"
	@echo "make second-look [REPORTS=reports]   judge the generators of your own and of published runs again: with other noise, and by a network that knows no clothes"
	@echo "make publish     copy the records of reports/runs that claims use to reports/records, and seal them"
	@echo "make audit [N=12] [CLAIM=] [RECORD=…] [MNIST=folder]   repeat published runs, drawn at random, each at its own commit, and grade them"
	@echo "make verify      are published files, records and verdicts as they were published? Within a minute; make seal writes them down anew"
	@echo "make bench [BENCH=\"training levers scaling startup fid\"] [DEVICE=cpu|cuda]   measure speed; nothing else should run meanwhile"
	@echo "make test [ALL=1]   notebooks and pytest; of cases that are all alike some, drawn at random, or all"
	@echo "make test-cluster   a study on a Slurm of four nodes that is started on this machine: root on Debian; some minutes"
	@echo "make faults      break things on purpose and write the book's table of what happens"
	@echo "make endurance [N=100] [KIND=]   kill runs and commands at random moments and compare what they end with; called again, it goes on"
	@echo "make env [HASHES=1]   the environment alone, in $(VENV); with HASHES=1 made anew, and nothing gets in whose hash is not in requirements.lock"
	@echo "make container   the environment as a container, by podman, docker or buildah; make report and make study run in it with CONTAINER=1"
	@echo "make lab [PORT=8888]   the notebooks in JupyterLab, with this environment's kernel; it prints its address"
	@echo "make watch PAGE=nbs/gan/13_losses.ipynb [PORT=8000]   the page of one notebook, made anew after every save"
	@echo "make export      after editing nbs/: clean the notebooks, write dcgan_nb/ and README.md"
	@echo "make project NAME=f [TITLE=\"…\"]   begin a project of your own: a notebook with a claim, its chapter, their place in the book"
	@echo "make change WHY=\"…\"   after a claim or a rule was changed: note what, and why, in reports/claims.json"
	@echo "make lock [UPGRADE=1]   resolve the versions in constraints.txt anew, and their hashes in requirements.lock"
	@echo "make drift       the newest versions in place of the locked ones: which they are, and which tests fail with them"
	@echo "make sbom        what is installed, as CycloneDX: reports/sbom.json          make vulnerabilities   what is known of the locked versions"
	@echo "make clean       remove pages, book and archives, keep the runs; make distclean removes all that was made"
	@echo "After \`source .venv/bin/activate\` the same by \`dcgan-nb\`: dcgan-nb --help"

# Each is a command of its own name.
plan verdicts runs audit verify: $(READY)
	@dcgan-nb $@ $(CLAIMS) $(OPTIONS)

# So are these; with CONTAINER=1 the same call of make is made in the container of `make container`.
ifdef CONTAINER
report study:
	@bash workflow/container/container.sh $@ $(foreach name,$(filter-out CONTAINER PYTHON HASHES,$(given)),$(call q,$(name)=$($(name))))
else
report study: $(READY)
	@dcgan-nb $@ $(CLAIMS) $(OPTIONS)
endif

container:
	@bash workflow/container/container.sh build

# A folder for a web server, from published records; nothing is trained. URL: where it will be.
site: $(READY)
	@python workflow/site_folder.py $(OPTIONS)

# The verdict chapters, printed by Chromium.
pdf: $(READY)
	@python workflow/pdf.py $(OPTIONS)

# Everything that is committed, and the book if it is built, as one file that works without git.
archive: $(READY)
	@python workflow/archive.py $(OPTIONS)

page: $(READY)
	@test -n $(call q,$(CLAIM)) || { echo "CLAIM is missing: make page CLAIM=A4" >&2; exit 2; }
	@dcgan-nb page $(CLAIMS) $(OPTIONS)

show: $(READY)
	@test -n $(call q,$(RUN)) || { echo "RUN is missing: make show RUN=the beginning of a run's name; make runs lists them" >&2; exit 2; }
	@dcgan-nb show $(call q,$(RUN)) $(call option,REPORTS)

# What it leaves beside one's own records, `make publish` takes along; what it leaves beside published ones is sealed.
second-look: $(READY)
	@python -c "from dcgan_nb.study.second_look import look_again; look_again('$(OUT)/runs', '$(OUT)/records')"
	@$(SEAL)

publish: $(READY)
	@python -c "from dcgan_nb.study.plan import publish; publish('$(OUT)/runs')"
	@$(SEAL)

SEAL = python -c "from dcgan_nb.study.verify import seal; seal()"

# What is published, in reports/manifest.sha256 and reports/verdicts.json; verify compares with it.
seal: $(READY)
	@$(SEAL)

# The results go to reports/benchmarks/.
bench: $(READY)
	@python -m benchmarks $(BENCH) $(call option,DEVICE)

# MAKEFLAGS, ALL: `make drift` goes on after a failure (-i), `make test` takes ALL=1; the makes that tests call shall know of neither.
test: $(READY)
	@echo "notebooks" && OMP_NUM_THREADS=1 nbdev_test --path nbs --file_re '^[0-9][0-9]_' --n_workers 2 --timing
	@echo "pytest" && MAKEFLAGS= ALL= OMP_NUM_THREADS=1 pytest -n 4 --dist loadfile --no-loadscope-reorder $(if $(ALL),--all)

# A Slurm from Debian, of four nodes on this machine, and all that goes wrong on a cluster; as root.
test-cluster: $(READY)
	@DCGAN_NB_CLUSTER=full pytest tests/test_cluster.py -s

faults: $(READY)
	@pytest tests --faults reports/faults.json

# Takes as long as N trials do; called again, it goes on.
endurance: $(READY)
	@OMP_NUM_THREADS=1 python workflow/endurance.py $(OPTIONS)

env: $(READY)

# Everything that is installed, building included, is pinned by constraints.txt.
$(VENV)/.ready: constraints.txt settings.ini setup.py pyproject.toml workflow/ipython_kernel_config.py
	@test -x $(BIN)/python || { echo "making $(VENV)" >&2; $(PYTHON) -m venv $(VENV); }
	@echo "installing torch (some minutes, once)" >&2
	@python -m pip install -q --no-compile torch torchvision
	@echo "installing the other packages" >&2
	@python -m pip install -q --no-compile -e '.[dev]'
	@python -m compileall -q -j 0 -x '/tests?/' $(VENV)/lib > /dev/null || true      # pip does this on one core, packages' tests included, and goes on as well where a file is for another Python
	@mkdir -p $(VENV)/etc/ipython && cp workflow/ipython_kernel_config.py $(VENV)/etc/ipython/
	@touch $@

# HASHES=1: from nothing, and only files that requirements.lock has the hashes of; what builds the few packages without a wheel comes first. The lock has all dependencies; the pip of Debian 12 stumbles when it looks for them.
HASHED = PIP_CONSTRAINT= PIP_BUILD_CONSTRAINT= python -m pip install -q --no-build-isolation
$(VENV)/.hashes: requirements.lock constraints.txt settings.ini setup.py pyproject.toml workflow/ipython_kernel_config.py
	@echo "making $(VENV), every file checked by its hash (some minutes)" >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@awk '/^[a-z]/ { kept = /^(packaging|setuptools|wheel)==/ } kept' requirements.lock > $(VENV)/build.lock
	@$(HASHED) --require-hashes -r $(VENV)/build.lock
	@$(HASHED) --no-deps --require-hashes -r requirements.lock
	@$(HASHED) --no-deps -e .
	@mkdir -p $(VENV)/etc/ipython && cp workflow/ipython_kernel_config.py $(VENV)/etc/ipython/
	@touch $(VENV)/.ready $@

# JupyterLab on nbs/, with this environment's kernel.
lab: $(READY)
	@python workflow/lab.py $(call q,$(PORT))

# A page that follows its notebook while it is edited.
watch: $(READY)
	@python workflow/watch.py $(call q,$(PAGE)) $(call q,$(PORT))

# The notebooks first: the parameters cell of nbs/train.ipynb is written from the package that they export.
export: $(READY)
	python workflow/clean.py
	nbdev_export
	python -c "from dcgan_nb.runs.parameters import write_parameters; write_parameters('nbs/train.ipynb')"
	@$(README) > README.md

project: $(READY)
	@python workflow/new_project.py -- '$(subst ','\'',$(NAME))' '$(subst ','\'',$(TITLE))'

change: $(READY)
	@python workflow/changes.py $(call q,$(WHY))

# The text of the notebook, without its code.
README = jupyter nbconvert --log-level WARN --to markdown --TemplateExporter.exclude_code_cell=True --stdout nbs/readme.ipynb | sed 's\#](assets/\#](nbs/assets/\#g'
readme: $(READY)
	@$(README)

# Versions that constraints.txt has already stay; UPGRADE=1 lets all move. requirements.lock has the same versions, with the hashes of their files for every system.
UV = $(VENV)/lock/bin/uv pip compile -q --no-cache --universal --python-version 3.10 --no-header --extra dev setup.py
lock:
	$(PYTHON) -m venv $(VENV)/lock && PIP_CONSTRAINT= $(VENV)/lock/bin/python -m pip install -q uv
	$(UV) $(if $(UPGRADE),--upgrade) -o constraints.txt
	$(UV) -c constraints.txt --no-annotate --generate-hashes -o requirements.lock
	@echo "setuptools is needed to build:"; grep '^setuptools==' constraints.txt

# Which newest versions are not those of the lock, and what fails with them: reports/drift.md. The new lock stays; `git restore constraints.txt requirements.lock` takes it back.
drift:
	@mkdir -p $(OUT) && git show HEAD:constraints.txt > $(OUT)/drift.before
	@$(MAKE) --no-print-directory lock UPGRADE=1 > $(OUT)/drift.log 2>&1 && $(MAKE) env >> $(OUT)/drift.log 2>&1 && $(MAKE) -i test >> $(OUT)/drift.log 2>&1; \
	$(PYTHON) workflow/drift.py $(OUT)/drift.before constraints.txt --log $(OUT)/drift.log --to $(OUT)/drift.md

# What is installed, for programs that read such lists; the same environment gives the same file. This tool and the next have environments of their own: none of their packages is in the lock.
sbom: $(READY)
	@test -x $(VENV)/sbom/bin/cyclonedx-py || { $(PYTHON) -m venv $(VENV)/sbom && PIP_CONSTRAINT= $(VENV)/sbom/bin/python -m pip install -q 'cyclonedx-bom>=7'; } || rm -rf $(VENV)/sbom
	@python workflow/sbom.py $(VENV)/sbom/bin/cyclonedx-py $(OUT)/sbom.json

# Asks a database on the network; where there is none, it says so.
vulnerabilities: $(READY)
	@test -x $(VENV)/vulnerabilities/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/vulnerabilities && PIP_CONSTRAINT= $(VENV)/vulnerabilities/bin/python -m pip install -q 'pip-audit>=2.9'; } || rm -rf $(VENV)/vulnerabilities
	@python workflow/vulnerabilities.py $(VENV)/vulnerabilities/bin/pip-audit requirements.lock

clean:
	rm -rf $(foreach name,book _build published watch site verdicts.pdf,$(call q,$(OUT)/$(name))) $(call q,$(OUT))/dcgan-nb-*.zip
distclean: clean
	rm -rf $(foreach name,runs page queue cache sbom.json endurance.jsonl workflow.log,$(call q,$(OUT)/$(name))) $(call q,$(OUT))/drift.* $(call q,$(VENV)) .snakemake
