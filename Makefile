# Two commands do all the set-up on a fresh machine with Python >= 3.11 and make:
#   make quickstart    a teacher, two students and a report, on data that needs no download
#   make test          the fast tests
#
# TORCH=auto takes the CPU build unless a GPU is there; TORCH=cpu or TORCH=cu128 (any backend name that
# `uv pip install --torch-backend` knows) overrides, TORCH=cuda takes the registry's own CUDA build.

PYTHON ?= python3
TORCH ?= auto
VENV := .venv
BIN := $(VENV)/bin
# A folder of wheels that pip was told of (PIP_FIND_LINKS) is where a CPU-only torch may lie; uv reads its own name.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

# torch's own index is asked for the right build, unless a local folder of wheels offers one or cuda was asked for.
LOCAL_TORCH := $(if $(UV_FIND_LINKS),$(wildcard $(UV_FIND_LINKS)/torch-*.whl))
BACKEND := $(if $(or $(LOCAL_TORCH),$(filter cuda,$(TORCH))),,--torch-backend=$(TORCH))
INSTALL := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(BACKEND) -c constraints.txt

.PHONY: quickstart demo test test-middle test-slow faults chaos check docs format bench web wheel lock clean help

help:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

quickstart: $(VENV)/.run ## set up, train and distil on the digits, print where the report is
	$(BIN)/limbeck run quickstart

STUDENT := runs/quickstart/models/distilled-seed0
demo: $(STUDENT)/export/student.onnx web ## export the quickstart's student and open a page in which it runs in the browser
	$(BIN)/limbeck demo $(STUDENT) --serve

$(STUDENT)/export/student.onnx: $(STUDENT)/model.safetensors $(VENV)/.demo
	$(BIN)/limbeck export $(STUDENT) --to onnx

$(STUDENT)/model.safetensors: | $(VENV)/.run
	$(BIN)/limbeck run quickstart

test: $(VENV)/.test ## the fast tests (8 to 9 minutes on 2 quiet cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-middle: $(VENV)/.test ## kills, clusters, benchmarks, whole runs: over 10 seconds each (CI too)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m middle

test-slow: $(VENV)/.test ## the long tests
	$(BIN)/python -m pytest -m slow

faults: $(VENV)/.test ## proof by fault injection: kills, power cuts, full disks, damage (about 20 minutes on 2 cores)
	$(BIN)/python tests/faults

chaos: $(VENV)/.test ## the same at large counts, for hours; stopped and begun again it goes on
	$(BIN)/python tests/faults --chaos

check: $(VENV)/.check ## formatting, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(VENV)/.docs ## build the documentation site: docs/_build/html/index.html
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet -b html docs docs/_build/html

format: $(VENV)/.check ## rewrite the formatting
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.test ## what a step, views and a sweep cost, beside floor and usual ways
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/views.py
	$(BIN)/python benchmarks/sweep.py

WEB := src/limbeck/deployment/page
CHARTS := src/limbeck/report/web_page
web: $(WEB)/ort.wasm.bundle.min.mjs ## the browser code of the demo and of reports, from its npm packages

$(WEB)/ort.wasm.bundle.min.mjs: web/package-lock.json
	@echo "setting up: browser code (onnxruntime-web, uPlot)"
	cd web && npm ci --ignore-scripts --no-audit --no-fund --silent
	cp web/node_modules/uplot/dist/uPlot.iife.min.js web/node_modules/uplot/dist/uPlot.min.css $(CHARTS)
	cp web/node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm $(WEB)
	cp web/node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs $@

wheel: $(VENV)/.uv web ## build dist/limbeck-VERSION-py3-none-any.whl
	$(BIN)/uv build --quiet --wheel --out-dir dist
	@ls dist/*.whl

lock: $(VENV)/.check $(VENV)/.docs ## write the versions that are installed to constraints.txt
	@echo '# Exact versions that the Makefile installs; the ranges are in pyproject.toml. `make lock` renews this file.' > constraints.txt
	$(BIN)/uv pip freeze --python $(BIN)/python | grep -v '^-e' | sed 's/+cpu//' >> constraints.txt

clean: ## remove the environment
	rm -rf $(VENV)

$(VENV)/.uv: constraints.txt
	@echo "setting up: environment"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt uv
	touch $@

$(VENV)/.run: $(VENV)/.uv pyproject.toml
	@echo "setting up: packages (torch is large)"
	$(INSTALL) -e '.[digits]'
	touch $@

$(VENV)/.demo: $(VENV)/.run
	@echo "setting up: the runtime of exported files"
	$(INSTALL) -e '.[digits,export]'
	touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "setting up: what tests need"
	$(INSTALL) -e '.[test]'
	@command -v npm > /dev/null && $(MAKE) web || echo "no npm here: tests of the demo page will be skipped"
	touch $@

$(VENV)/.check: $(VENV)/.test
	@echo "setting up: what checks need"
	$(INSTALL) -e '.[check]'
	touch $@

$(VENV)/.docs: $(VENV)/.run
	@echo "setting up: what the documentation needs"
	$(INSTALL) -e '.[docs]'
	touch $@
