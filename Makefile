# make demo    train a text detector on a real page and draw what the loss does
# make test    everything: Swift, C and Python tests, in and against PyTorch, PaddlePaddle, TensorFlow and JAX
# make bench   speed and memory beside the frameworks, in 5 minutes; SET=full in 40
# make install PREFIX=/usr/local   header, library, pkg-config file and CMake package (DESTDIR is put before it)
# make soak    what takes hours: SOAK_SECONDS of fuzzing the C boundary, all float32 numbers, thousands of random properties
# make accuracy, make coverage, make sanitize    the figures of Guides/Trust.md
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

.PHONY: all install demo test bench lint math accuracy coverage soak soak-fuzz soak-math soak-properties sanitize swift-test test-source clean
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

# With counters, for `make coverage`: one build for both.
swift-test:
	swift test --enable-code-coverage

# Python: ruff, mypy, and whether the type stubs are those of the losses.
lint: $(VENV)/.lint $(VENV)/.package
	$(BIN)/ruff check --quiet --config bindings/python/pyproject.toml .
	$(BIN)/ruff format --quiet --check --config bindings/python/pyproject.toml bindings Examples Tests
	cd bindings/python && ../../$(BIN)/mypy && ../../$(BIN)/mypy tests/typed_user.py
	$(BIN)/python bindings/python/make_stubs.py --check

# The kernels' elementary functions (Tests/Math), compiled as the kernels are, for each level that this processor has.
MATH := .build/math
SWEEPS := $(MATH)/baseline $(if $(shell grep -wm1 avx2 /proc/cpuinfo),$(MATH)/x86-64-v3) \
  $(if $(shell grep -wm1 avx512vl /proc/cpuinfo),$(MATH)/x86-64-v4)
SWEEP_SOURCES := $(filter-out %/Table.swift,$(wildcard Sources/LossKernels/*.swift)) Tests/Math/sweep.swift

$(MATH)/%: $(SWEEP_SOURCES)
	@mkdir -p $(MATH)
	swiftc -Ounchecked -wmo -num-threads 1 -Xcc -fno-math-errno -Xllvm -disable-loop-idiom-all -parse-as-library \
	  -Xfrontend -enable-builtin-module \
	  $(if $(findstring v3,$*),-DAVX2) $(if $(findstring v4,$*),-DAVX512) \
	  $(if $(findstring x86,$*),-Xcc -march=$*) -static-stdlib -module-name MathSweep -ISources/KernelTable/include $^ -o $@

# Every 1021st float32 and the neighbourhoods of special ones; `make soak-math` takes all 2^32.
STEP ?= 1021
SAMPLES ?= 20000
math: $(SWEEPS) $(VENV)/.test
	$(lastword $(SWEEPS)) $(STEP)
	$(foreach sweep,$(SWEEPS),$(sweep) hash $(STEP) >$(sweep).hash && cmp $(sweep).hash $(firstword $(SWEEPS)).hash &&) true
	$(foreach sweep,$(SWEEPS),$(sweep) exact $(STEP) $(SAMPLES)00 &&) true
	$(lastword $(SWEEPS)) float64 $(SAMPLES) | $(BIN)/python Tests/Math/float64.py

soak-math:
	$(MAKE) math STEP=1 SAMPLES=1000000
soak-properties: $(VENV)/.test
	SEGLOSS_TEST_PROFILE=soak $(PYTEST) $(TESTS)/test_properties.py $(TESTS)/test_metamorphic.py

accuracy: $(VENV)/.test
	$(BIN)/python Tests/Accuracy/accuracy.py --sizes 10 16 20 24 26 --huge 100000000 268435456 --output accuracy.csv

# What the tests reach, with the library of `swift test`, which counts its lines: Swift's own tests, Python's, the fuzzer's
# inputs, each framework's. Left out is what reaches nothing else (the same bits at other levels, whole builds, references), takes
# long, or forks children that leave no counts.
COVERAGE := .build/coverage
UNCOUNTED := accuracy benchmarks c_boundary demo golden_bits install levels metamorphic migrating oracle_paddle \
  oracle_tensorflow oracle_torch oracle_torch_windows properties reference reference_overlap reference_pointwise source
COUNTED := SEGLOSS_LIBRARY=$(CURDIR)/.build/debug/libsegloss.so LLVM_PROFILE_FILE=$(CURDIR)/$(COVERAGE)/%p.profraw \
  COVERAGE_FILE=$(CURDIR)/$(COVERAGE)/python \
  $(BIN)/python -m coverage run --rcfile Tests/Coverage/coveragerc $(wordlist 2,99,$(PYTEST)) -q
coverage: swift-test $(VENV)/.test
	rm -rf $(COVERAGE)
	mkdir -p $(COVERAGE)
	cp .build/debug/codecov/default.profdata $(COVERAGE)/swift.profdata
	$(COUNTED) $(TESTS) $(FRAMEWORKS:%=--ignore=$(TESTS)/test_%.py) $(UNCOUNTED:%=--ignore=$(TESTS)/test_%.py)
	$(COUNTED) $(TESTS)/test_c_boundary.py -k "both_forms or fuzzers"
	$(foreach name,$(FRAMEWORKS),$(COUNTED) $(TESTS)/test_$(name).py &&) true
	$(BIN)/python Tests/Coverage/report.py $(COVERAGE) .build/debug/libsegloss.so .build/debug/seglossPackageTests.xctest

test: swift-test lint math $(VENV)/.test $(VENV)/.demo
	$(BIN)/python Tests/Gates/check_levels.py $(RELEASE)
	$(PYTEST) $(TESTS) $(FRAMEWORKS:%=--ignore=$(TESTS)/test_%.py) --ignore=$(TESTS)/test_source.py
	$(foreach name,$(FRAMEWORKS),$(PYTEST) $(TESTS)/test_$(name).py &&) true

# Whole builds, several minutes: a wheel from the source distribution, a Swift package that uses this one.
test-source: $(VENV)/.test
	$(BIN)/python -m pytest -c bindings/python/pyproject.toml $(TESTS)/test_source.py

bench: $(VENV)/.bench
	$(BIN)/python Benchmarks/bench.py $(SET)

soak: soak-fuzz soak-math soak-properties

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
