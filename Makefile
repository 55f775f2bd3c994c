# Needs Python >= 3.11, make and git. `make demo` and `make test` first create the environment .venv.
#   make test PYTHON=python3.12      use another interpreter (remove .venv first: make clean)
#   make test JOBS=4                 run tests in 4 processes

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt
TYPING := build/typing
PLUGINS := methods datamodules callbacks

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format typecheck check bench results ablations label-curves scenes faults clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/run.stamp  ## render an arena, discover keypoints in it, compare them with the ground truth: runs/demo
	$(BIN)/kp demo --out runs/demo

test: $(VENV)/dev.stamp  ## run the tests, except those that train for minutes
	$(BIN)/python -m pytest -n $(JOBS)

test-all: $(VENV)/dev.stamp  ## run all tests
	$(BIN)/python -m pytest -n $(JOBS) -m ""

lint: $(VENV)/dev.stamp  ## check rules and format with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/dev.stamp  ## fix rules and format with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Type checkers do not see the package mapping of pyproject.toml, so they get a folder that mirrors it with links.
typecheck: $(VENV)/dev.stamp  ## run mypy --strict on the package, including the plug-in folders
	@rm -rf $(TYPING)/lightning_kp && mkdir -p $(TYPING)/lightning_kp
	@ln -s $(addprefix $(CURDIR)/,$(wildcard lightning_kp/*) $(PLUGINS)) $(TYPING)/lightning_kp/
	cd $(TYPING) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p lightning_kp

check: lint typecheck test  ## run lint, typecheck and test: required for every change

bench: $(VENV)/run.stamp  ## measure speed and memory against reference implementations: runs/bench
	$(BIN)/python -m lightning_kp.bench

# Results of the README: three seeds of each experiment, scored on held-out recordings.
SEEDS ?= 0 1 2
RESULTS ?= runs/results
MOUSE := $(KP_DATA)/mouse_openfield
# Arguments: name, experiment, data. Trains, or resumes the training of an earlier call.
train = $(BIN)/kp fit --config experiments/$(2).yaml --data.root $(3) --seed_everything $$seed \
  --trainer.default_root_dir $(RESULTS)/$(1)-$$seed \
  $$(ls $(RESULTS)/$(1)-$$seed/checkpoints/last.ckpt 2>/dev/null | sed s/^/--ckpt_path=/)
results: $(VENV)/run.stamp  ## make the README's table of errors (needs KP_DATA, the folder of real data)
	@test -d "$(MOUSE)" || { echo "Set KP_DATA to the folder that contains mouse_openfield." >&2; exit 1; }
	for seed in $(SEEDS); do \
	  $(call train,openfield,bkind_openfield,$(MOUSE)) || exit 1; \
	  $(call train,arena,bkind_arena_turning,$(RESULTS)) || exit 1; \
	done
	$(BIN)/kp score $(RESULTS)/openfield-* --labels $(MOUSE)/labeled-data/m4s1/CollectedData_Pranav.csv
	$(BIN)/kp score $(RESULTS)/arena-* --labels $(RESULTS)/arena/arena_seed2_*.truth.npz
	for run in $(RESULTS)/openfield-* $(RESULTS)/arena-*; do $(BIN)/kp report $$run --judge || exit 1; done

# Ablations on the rendered arena (000, Tables 5.4 to 5.6 and 5.8). A second call resumes a stopped one.
ABLATIONS ?= gap keypoints target terms
ABLATION_JOBS ?= 1
ablations: $(VENV)/run.stamp  ## compare gaps, numbers of keypoints, targets and loss terms: runs/sweeps/*/table.md
	for name in $(ABLATIONS); do \
	  $(BIN)/kp sweep experiments/sweep_bkind_arena_$$name.yaml --jobs $(ABLATION_JOBS) || exit 1; \
	done

scenes: $(VENV)/run.stamp  ## compare errors in harder scenes with and without preprocessing (hours on two cores): runs/scenes
	$(BIN)/python -m lightning_kp.studies.scenes --jobs $(JOBS)

label-curves: $(VENV)/run.stamp  ## measure the error over the number of labels (needs KP_DATA; hours on two cores): runs/label_efficiency
	@test -d "$(MOUSE)" || { echo "Set KP_DATA to the folder that contains mouse_openfield." >&2; exit 1; }
	$(BIN)/python -m lightning_kp.studies.label_efficiency --data "$(KP_DATA)" --jobs $(JOBS)

FAULTS_EVERY ?= 1
faults: $(VENV)/run.stamp  ## kill every verb at every change of a file, fill its disk, and type it again (Linux; hours): runs/faults
	$(BIN)/python -m lightning_kp.studies.faults --every $(FAULTS_EVERY)

clean:  ## remove everything that make created, including .venv; results in runs/ are kept
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# Stamps record the last installation; a change of pyproject.toml or constraints.txt triggers another one.
$(VENV)/uv.stamp:
	@command -v $(PYTHON) >/dev/null || { echo "'$(PYTHON)' was not found. Name another interpreter: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, but '$(PYTHON)' is `$(PYTHON) -V 2>&1`. Name another interpreter: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@touch $@

$(VENV)/run.stamp: $(VENV)/uv.stamp pyproject.toml constraints.txt
	$(UV) -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/uv.stamp pyproject.toml constraints.txt
	$(UV) -e '.[dev]'
	@touch $(VENV)/run.stamp $@
