# zeropoint from a bare Debian 12 machine: `make demo` and `make test` install, build and run everything they need.
# All of it lands in build/ (except Debian's packages), and a second run is quick.

VENV := build/venv
PYTHON := $(VENV)/bin/python
ZEROPOINT := build/release/zeropoint
JOBS ?= $(shell nproc)

# The build takes the schema of ONNX files, oneDNN and nanobind out of the Python environment.
CONFIGURE := -DPython_EXECUTABLE=$(CURDIR)/$(PYTHON) -DCMAKE_PREFIX_PATH=$(CURDIR)/$(VENV) \
             $(if $(wildcard python/CMakeLists.txt),-DZEROPOINT_PYTHON=ON)
# The module as built, without installing it.
export PYTHONPATH := $(CURDIR)/build/release/python

.PHONY: help setup build test test-aarch64 wheel test-wheel frameworks test-frameworks demo bench format clean distclean
.NOTPARALLEL:

help:  ## say what there is to make
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup:  ## install what building, tests, demo and benches need
	tools/setup.sh

build:  ## build/release/zeropoint and the Python module
	tools/setup.sh build python
	cmake --preset release $(CONFIGURE)
	cmake --build --preset release --parallel $(JOBS)

test: setup build  ## build, then run every test
	ctest --preset release --parallel $(JOBS)
	@grep -ahE '[0-9]+ pass(ed)?, [0-9]+ refused' build/release/Testing/Temporary/LastTest.log
	$(PYTHON) -m pytest -q $(wildcard tests python/tests)

test-aarch64:  ## build for aarch64, run unit tests and golden hashes under qemu as three processors (not part of `test`)
	tools/setup.sh build python cross
	cmake --preset aarch64 -DPython_EXECUTABLE=$(CURDIR)/$(PYTHON)
	cmake --build --preset aarch64 --parallel $(JOBS) --target unit_tests same_bytes_test memory_test
	set -e; for cpu in max neoverse-n1 cortex-a57; do \
	  echo "== $$cpu"; QEMU_CPU=$$cpu ctest --preset aarch64 --parallel $(JOBS) -L 'unit|promises'; done

wheel:  ## build/wheel/zeropoint-*.whl, for this Python (from 3.12 on for later ones, too)
	tools/setup.sh build python
	rm -rf build/wheel
	$(PYTHON) -m pip wheel -q --no-deps --no-build-isolation -w build/wheel .
	@ls -l build/wheel

test-wheel: wheel  ## install the wheel in an environment of its own and run the Python tests on it (not part of `test`)
	rm -rf build/wheel-venv
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/python -m pip install -q build/wheel/zeropoint-*.whl
	PYTHONPATH= build/wheel-venv/bin/python -c 'import zeropoint'  # with nothing beside what it asks for
	$(PYTHON) -c 'import site; print(site.getsitepackages()[0])' > \
	  $$(build/wheel-venv/bin/python -c 'import site; print(site.getsitepackages()[0])')/tools_of_the_tests.pth
	PYTHONPATH= build/wheel-venv/bin/python -m pytest -q python/tests

frameworks:  ## a Python environment with Keras and Paddle in build/frameworks-venv, 3 GB
	tools/setup.sh frameworks

test-frameworks: build frameworks  ## train, export and quantize with Keras and Paddle (not part of `test`)
	tools/setup.sh models
	build/frameworks-venv/bin/python -m pytest -q tests/frameworks/export_checks.py

demo:  ## quantize a real network on real photographs, run it, compare it with float
	tools/setup.sh build python
	cmake --preset release $(CONFIGURE)
	cmake --build --preset release --parallel $(JOBS) --target zeropoint_cli
	tools/setup.sh models
	ZEROPOINT=$(ZEROPOINT) examples/demo.sh

bench: setup build  ## remake the published figures (takes about an hour)
	$(PYTHON) bench/fashion_mnist.py
	$(PYTHON) bench/accuracy.py --again zeropoint --write
	$(PYTHON) bench/quantizers.py build/models/efficientnet_lite0_bn.onnx --data build/data/photos.npz --out build/bench
	$(PYTHON) bench/peers.py build/models/efficientnet_lite0_bn.onnx build/bench/efficientnet_lite0_bn.*.onnx \
	  build/bench/efficientnet_lite0_bn.*.xml --data build/data/photos.npz
	tools/setup.sh bench
	$(PYTHON) bench/workloads.py
	$(PYTHON) bench/onednn.py

format:  ## format C++ and Python
	git ls-files '*.h' '*.cpp' | xargs -r clang-format-19 -i
	$(VENV)/bin/ruff format $(wildcard bench examples python tests tools)

clean:  ## remove what was built; keep environment, models and data
	rm -rf build/release build/aarch64 build/bench build/demo

distclean:  ## remove everything that was made
	rm -rf build
