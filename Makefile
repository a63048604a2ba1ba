# The developer's verbs. `make help` lists them; everything runs from a fresh clone.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := $(CURDIR)/.venv
JOBS ?= $(shell nproc)
export PATH := $(VENV)/bin:$(PATH)
# Any pip that a target starts keeps to the pinned versions.
export PIP_CONSTRAINT := $(CURDIR)/tools/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiler results are found again from another checkout.
export CCACHE_BASEDIR := $(CURDIR)
PYTHONPATH_BUILD := $(CURDIR)/build/python/package
PYTEST_ARGS ?= -q -n $(JOBS)
PYTHON_CMAKE := -DPython_EXECUTABLE=$(VENV)/bin/python

CPP_FILES = $(shell git ls-files '*.cpp' '*.h')

.PHONY: help
help: ## List the targets.
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what is missing: Debian packages and .venv (idempotent).
	@tools/setup.sh

.PHONY: configure
configure: setup
	@cmake --preset release -DCOREGRAD_PYTHON=ON $(PYTHON_CMAKE) > build.log 2>&1 \
	  || { cat build.log; exit 1; }; rm -f build.log

.PHONY: package
package: configure ## Build the Python package alone (release), into build/python/package.
	@cmake --build build -j $(JOBS) --target coregrad_stubs

.PHONY: build
build: configure ## Build the library, program, tests and Python extension (release).
	@cmake --build build -j $(JOBS)

.PHONY: test
test: build ## Set up, build, and run the C++ and the Python tests.
	@echo "== C++ tests"
	@build/coregrad_tests --gtest_brief=1
	@echo "== Parity of models with eager PyTorch"
	@$(MAKE) --no-print-directory parity PARITY_ARGS="--model mlp cnn transformer lstm"
	@echo "== Python tests"
	@PYTHONPATH=$(PYTHONPATH_BUILD) python -m pytest $(PYTEST_ARGS) tests/python

.PHONY: test-all
test-all: test ## The tests, all of PyTorch's operator database, asan and tsan, the wheel, the demo.
	@$(MAKE) --no-print-directory op-db test-machines
	@$(MAKE) --no-print-directory asan tsan wheel
	@$(MAKE) --no-print-directory demo

.PHONY: test-machines
test-machines: package ## Run the cases of operators and primitives on tiny machines, for each instruction set.
	@export PYTHONPATH=$(PYTHONPATH_BUILD) COREGRAD_MACHINE=tiny COREGRAD_CHECK_MEMORY=1; \
	for isa in $$(python -c 'from coregrad import _core; print(*_core.supported_isas())'); do \
	  echo "== $$isa"; COREGRAD_ISA=$$isa python -m pytest $(PYTEST_ARGS) \
	    tests/python/test_torch_lowerings.py tests/python/test_primitives_against_torch.py || exit 1; \
	done

.PHONY: op-db
op-db: package ## Run all of PyTorch's operator database through the backend; results in out/op_db.json.
	@PYTHONPATH=$(PYTHONPATH_BUILD) python tests/python/op_db_run.py --jobs $(JOBS) \
	  --json out/op_db.json $(OP_DB_ARGS)

.PHONY: parity
parity: package ## Compare models with eager PyTorch, float64 as the judge; PARITY_ARGS=--help tells more.
	@PYTHONPATH=$(PYTHONPATH_BUILD) python -m coregrad.torch.parity --scripts out/parity $(PARITY_ARGS)

.PHONY: random-programs
random-programs: package ## Run random PyTorch programs against eager; SEEDS=0:1000 QUICK=1 HUGE=1 THREADS=9.
	@PYTHONPATH=$(PYTHONPATH_BUILD) python tests/python/random_programs_run.py --jobs $(JOBS) \
	  --seeds $(or $(SEEDS),0:1000) --threads $(or $(THREADS),1) \
	  $(if $(QUICK),--quick) $(if $(HUGE),--huge)

.PHONY: models
MODELS = $(shell sed -n 's/^def \([a-z0-9_]*\)():$$/\1/p' tests/python/transformers_models.py)
models: package ## Compare architectures of Hugging Face transformers with eager; MODELS="bert llama", RESIZED=1.
	@python -c 'import transformers' 2> /dev/null || \
	  python -m pip install -q -c tools/constraints.txt transformers
	@PYTHONPATH=$(PYTHONPATH_BUILD) $(if $(RESIZED),python tests/python/models_resized_run.py $(MODELS),\
	  python -m coregrad.torch.parity --scripts out/parity \
	  --module $(foreach m,$(MODELS),tests/python/transformers_models.py:$(m)) $(PARITY_ARGS))

# Sees the packages of .venv behind its own, so PyTorch is there once.
LIBRARIES := $(CURDIR)/.venv-libraries
$(LIBRARIES)/stamp: tools/libraries.txt tools/constraints.txt | setup
	@rm -rf $(@D) && python -m venv --without-pip $(@D)
	@python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  > $$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/coregrad.pth
	@pip --python $(@D)/bin/python install -q --no-build-isolation -r tools/libraries.txt
	@touch $@

.PHONY: libraries
libraries: package $(LIBRARIES)/stamp ## Run the examples of docs/guide/libraries.md (Hugging Face, Lightning and others).
	@PYTHONPATH=$(PYTHONPATH_BUILD) $(LIBRARIES)/bin/python -m pytest $(PYTEST_ARGS) tests/libraries

.PHONY: mutation
mutation: build ## Plant faults in the compiler one at a time: do the tests notice? MUTATION_ARGS=--help.
	@python tests/mutation/mutation_check.py --jobs $(JOBS) --json out/mutation.json $(MUTATION_ARGS)

.PHONY: bench
bench: setup ## Build and run the C++ micro-benchmarks and the comparison with PyTorch.
	@cmake --preset release -DCOREGRAD_PYTHON=ON -DCOREGRAD_BENCH=ON $(PYTHON_CMAKE) > /dev/null
	@cmake --build build -j $(JOBS)
	@for program in build/bench_*; do if [ -x "$$program" ]; then echo "== $$program"; "$$program" || exit 1; fi; done
	@for script in $(wildcard bench/python/bench_*.py); do echo "== $$script"; \
	  PYTHONPATH=$(PYTHONPATH_BUILD) python "$$script" || exit 1; done

.PHONY: demo
demo: package ## Train the CNN on handwritten digits through torch.compile and print accuracy and speed.
	@PYTHONPATH=$(PYTHONPATH_BUILD) python examples/mnist_demo.py --dataset digits --output out/demo

.PHONY: wheel
wheel: setup ## Build dist/*.whl and test it in a clean environment.
	@rm -rf dist && mkdir -p dist
	@CMAKE_CXX_COMPILER_LAUNCHER=ccache \
	  pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .
	@tools/check_wheel.sh dist/*.whl

.PHONY: fmt
fmt: setup ## Format C++ and Python.
	@clang-format-19 -i $(CPP_FILES)
	@ruff format --quiet .
	@ruff check --quiet --fix .

.PHONY: lint
lint: setup ## Check formatting, Python style, the layers and the table of planted faults.
	@clang-format-19 --dry-run -Werror $(CPP_FILES)
	@ruff format --check --quiet .
	@ruff check --quiet .
	@python tools/check_layers.py
	@python tests/mutation/mutation_check.py --check

.PHONY: house
house: setup ## What a change costs and how tidy the tree is, as a table; HOUSE_ARGS="--names".
	@python -c 'import lizard' 2> /dev/null || python -m pip install -q -c tools/constraints.txt lizard
	@python tools/house.py $(HOUSE_ARGS)

.PHONY: docs
docs: setup ## Render the pages under docs/ to out/docs and check their links.
	@python tools/build_docs.py out/docs

asan: TESTS = *
# Without the suites that compile and run kernels by the hundred: they take over an hour under the
# thread sanitizer, which does not see into compiled kernels.
tsan: TESTS = -*Contract*:*GradientRule*:*/RandomGraphs*:*VectorMath*

.PHONY: asan tsan
asan tsan: setup ## Build and run the C++ tests under address+undefined or thread sanitizer.
	@cmake --preset $@ > /dev/null
	@cmake --build build-$@ -j $(JOBS) --target coregrad_tests
	@ASAN_OPTIONS=detect_leaks=1 build-$@/coregrad_tests --gtest_brief=1 --gtest_filter="$(TESTS)"

.PHONY: consumer
consumer: build ## Install the C++ library into out/prefix, and build and run a project that uses it.
	@cmake --install build --component cpp --prefix out/prefix > /dev/null
	@cmake -S tests/consumer -B out/consumer -G Ninja -DCMAKE_PREFIX_PATH=$(CURDIR)/out/prefix \
	  -DCMAKE_BUILD_TYPE=Release > /dev/null
	@cmake --build out/consumer && cd out/consumer && ./consumer

.PHONY: fuzz
FUZZ_SECONDS ?= 60
fuzz: package ## Feed made-up files to what reads files, under address sanitizer; FUZZ_SECONDS=60.
	@cmake --preset asan > /dev/null
	@cmake --build build-asan -j $(JOBS) --target fuzz_readers
	@PYTHONPATH=$(PYTHONPATH_BUILD) python tests/fuzz/make_corpus.py out/fuzz
	@build-asan/fuzz_readers -max_total_time=$(FUZZ_SECONDS) -max_len=20000 -print_final_stats=1 \
	  -artifact_prefix=out/ out/fuzz

.PHONY: clean
clean: ## Remove everything that was built (.venv stays).
	@rm -rf build build-dev build-asan build-tsan dist out
