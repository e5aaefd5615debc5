# make demo    train a text detector on a real page and draw what the loss does
# make test    everything: Swift, C and Python tests, in and against PyTorch, PaddlePaddle, TensorFlow and JAX
# make bench   speed and memory beside the frameworks, in 5 minutes; SET=full in 40
# make install PREFIX=/usr/local   header, library, pkg-config file and CMake package (DESTDIR is put before it)
# make soak    what takes as long as it is told: SOAK_SECONDS of fuzzing the C boundary
# make sanitize   the C tests under AddressSanitizer and ThreadSanitizer
#
# Each sets up what it needs in .venv and .build; Swift 6.3 and Python are all that must be there.

PYTHON ?= python3
PREFIX ?= /usr/local
VENV := .venv
BIN := $(VENV)/bin
RELEASE := .build/release
LIBRARY := $(RELEASE)/libsegloss.so
SOURCES := Package.swift $(shell find Sources include -type f)
PACKAGE := $(shell find bindings/python/src -name '*.py') bindings/python/pyproject.toml bindings/python/hatch_build.py \
  $(wildcard bindings/c/*)
# Each framework's module is tested in a process of its own: they do not all live in one.
FRAMEWORKS := torch paddle tensorflow jax
TESTS := bindings/python/tests
PYTEST := $(BIN)/python -m pytest -c bindings/python/pyproject.toml -n auto --maxprocesses 4
PIP := $(BIN)/python -m pip install --disable-pip-version-check

SOAK_SECONDS ?= 600

.PHONY: all install demo test bench soak soak-fuzz sanitize swift-test test-source clean
all: $(LIBRARY)

$(LIBRARY): $(SOURCES)
	@command -v swift >/dev/null || { echo "Swift 6.3 is needed: see swift.org/install"; exit 1; }
	SEGLOSS_EMBEDDED=1 swift build -c release --product segloss
	SEGLOSS_EMBEDDED=1 swift build -c release --product segloss_tensorflow
	@touch $@

install: $(LIBRARY)
	@$(PYTHON) bindings/c/install.py $(DESTDIR)$(PREFIX)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "Python 3.10 or later is needed, $(PYTHON) is older: make PYTHON=python3.x"; exit 1; }
	@echo "Setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 -m venv failed (Debian: apt install python3-venv)"; exit 1; }

# The package as a user has it: a wheel, not the checkout.
$(VENV)/.package: $(BIN)/python $(LIBRARY) $(PACKAGE)
	@echo "Installing segloss into $(VENV)"
	@$(PIP) --force-reinstall --no-deps ./bindings/python && $(PIP) numpy
	@touch $@

$(VENV)/.demo: $(VENV)/.package
	@echo "Installing what the demo draws with"
	@$(PIP) scipy scikit-image matplotlib tqdm
	@touch $@

$(VENV)/.test: $(VENV)/.package bindings/python/tests/requirements-test.txt
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "The tests need Python 3.11 or later: make clean, then make test PYTHON=python3.11"; exit 1; }
	@echo "Installing what the tests compare with (PyTorch, PaddlePaddle, TensorFlow, JAX: several hundred MB)"
	@$(PIP) -r bindings/python/tests/requirements-test.txt
	@touch $@

$(VENV)/.lint: $(BIN)/python bindings/python/requirements-lint.txt
	@echo "Installing what checks the code"
	@$(PIP) numpy -r bindings/python/requirements-lint.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.package Benchmarks/requirements.txt Benchmarks/requirements-alone.txt
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "The benchmark needs Python 3.11 or later: make clean, then make bench PYTHON=python3.11"; exit 1; }
	@echo "Installing what the benchmark compares with (PyTorch, PaddlePaddle, TensorFlow, JAX and others: several hundred MB)"
	@$(PIP) -r Benchmarks/requirements.txt
	@$(PIP) --no-deps -r Benchmarks/requirements-alone.txt
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/python Examples/text_detector.py

swift-test:
	swift test

# Python: ruff, mypy, and whether the type stubs are those of the losses.
.PHONY: lint
lint: $(VENV)/.lint $(VENV)/.package
	$(BIN)/ruff check --quiet --config bindings/python/pyproject.toml .
	$(BIN)/ruff format --quiet --check --config bindings/python/pyproject.toml bindings Examples Tests
	cd bindings/python && ../../$(BIN)/mypy && ../../$(BIN)/mypy tests/typed_user.py
	$(BIN)/python bindings/python/make_stubs.py --check

test: swift-test lint $(VENV)/.test $(VENV)/.demo
	$(BIN)/python Tests/Gates/check_levels.py $(RELEASE)
	$(PYTEST) $(TESTS) $(FRAMEWORKS:%=--ignore=$(TESTS)/test_%.py) --ignore=$(TESTS)/test_source.py
	$(foreach name,$(FRAMEWORKS),$(PYTEST) $(TESTS)/test_$(name).py &&) true

# Whole builds, several minutes: a wheel from the source distribution, a Swift package that uses this one.
test-source: $(VENV)/.test
	$(BIN)/python -m pytest -c bindings/python/pyproject.toml $(TESTS)/test_source.py

bench: $(VENV)/.bench
	$(BIN)/python Benchmarks/bench.py $(SET)

soak: soak-fuzz

$(VENV)/.fuzz: $(BIN)/python
	@$(PIP) 'pycparser>=2.22'
	@touch $@

soak-fuzz: $(VENV)/.fuzz
	$(BIN)/python Tests/Fuzz/fuzz.py --seconds $(SOAK_SECONDS)

sanitize:
	Tests/CTests/sanitize.sh address
	Tests/CTests/sanitize.sh thread

clean:
	rm -rf .build .build-fuzz .build-address .build-thread $(VENV)
