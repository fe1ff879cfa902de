# SPDX-License-Identifier: GPL-2.0-or-later
#
# make run    starts the scheduler here, or in a VM where this kernel has no sched_ext
# make test   passes the tests: at most 40 minutes on two CPUs; make test-all the long rest
# Both do their own set-up. The other targets are the parts.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

BUILD := build
VENV := $(BUILD)/venv
PY := $(VENV)/bin/python

# The newest clang there is; 16 is the floor.
CLANG ?= $(shell for v in 21 20 19 18 17 16; do command -v clang-$$v && break; done || command -v clang || echo clang)
LLVM_STRIP ?= $(shell for v in 21 20 19 18 17 16; do command -v llvm-strip-$$v && break; done || command -v llvm-strip || echo llvm-strip)
SYSROOT := $(wildcard $(BUILD)/sysroot/usr/include)

# Without a __TARGET_ARCH_ define a program that reads registers does not compile: one object serves all architectures.
BPF_CFLAGS := -g -O2 -target bpf -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter \
	-Wno-missing-declarations -fdebug-prefix-map=$(CURDIR)=. -Ibpf/include $(addprefix -I,$(SYSROOT))
BPF_SOURCES := $(wildcard bpf/*.bpf.c)
BPF_OBJECTS := $(BPF_SOURCES:bpf/%.c=$(BUILD)/bpf/%.o) $(BUILD)/bpf/sched_faulty.bpf.o

# What tests run in guests, where a compiler takes ten seconds.
TEST_SOURCES := $(wildcard tests/vm/*/*.c)
TEST_OBJECTS := $(patsubst tests/vm/%.c,$(BUILD)/tests/%.o,$(filter %.bpf.c,$(TEST_SOURCES)))
TEST_PROGRAMS := $(patsubst tests/vm/%.c,$(BUILD)/tests/%,$(filter-out %.bpf.c,$(TEST_SOURCES)))
TEST_CFLAGS := -O1 -Wall -rdynamic -pthread

.PHONY: demo-guest help bootstrap bootstrap-demo bootstrap-test bpf workload programs run test test-all lint test-unit test-policy test-fuzz test-packages test-vm test-python \
	test-kernels test-mutations test-soak bench schema clean

help:
	@sed -n '3,5s/^# //p' Makefile
	@echo "lint test-unit test-policy test-fuzz test-packages test-vm [TESTS=folder] [KERNEL=6.18] test-python test-kernels test-mutations"
	@echo "test-soak bench clean"

bootstrap:
	@packaging/bootstrap build

bootstrap-demo:
	@packaging/bootstrap demo

bootstrap-test:
	@packaging/bootstrap test

bpf: $(BPF_OBJECTS)

$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -MMD -MP -c $< -o $@
	$(LLVM_STRIP) -g $@

# The same scheduler with switches that break it on purpose; never shipped.
$(BUILD)/bpf/sched_faulty.bpf.o: bpf/sched.bpf.c
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -DSCXG_FAULTS -MMD -MP -c $< -o $@
	$(LLVM_STRIP) -g $@

programs: bpf workload $(TEST_OBJECTS) $(TEST_PROGRAMS)

$(TEST_OBJECTS): $(BUILD)/tests/%.bpf.o: tests/vm/%.bpf.c
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(TEST_PROGRAMS): $(BUILD)/tests/%: tests/vm/%.c
	@mkdir -p $(@D)
	$(CC) $(TEST_CFLAGS) -Werror $< -o $@

-include $(wildcard $(BUILD)/bpf/*.d)
-include scx_gamer/bench/build.mk
-include packaging/install.mk

# A kernel that has sched_ext needs no virtual machine; any other gets one, and nothing of what only the tests install.
SCHED_EXT ?= /sys/kernel/sched_ext
AS_ROOT = $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# The set-up runs first: what `bpf` and `workload` need is there before make looks at their prerequisites again.
run:
	@if [ -d $(SCHED_EXT) ]; then packaging/bootstrap build && $(MAKE) --no-print-directory bpf && \
	exec $(AS_ROOT) $(CURDIR)/$(VENV)/bin/scx-gamer run; \
	else packaging/bootstrap demo && $(MAKE) -s --no-print-directory -j3 bpf workload demo-guest && \
	exec tests/vm/run --steady --cpus 2 --timeout 900 -- $(PY) -m scx_gamer.bench.demo --seconds 1; fi

demo-guest:
	@exec tests/vm/run --prepare --steady

test: bootstrap-test
	@$(MAKE) --no-print-directory programs
	@exec $(PY) tests/tiers.py test

# Hours: every folder of tests/vm on every kernel, and the parts named in tests/tiers.toml.
test-all: bootstrap-test
	@$(MAKE) --no-print-directory programs
	@exec $(PY) tests/tiers.py all

lint test-unit test-policy test-fuzz test-packages: bootstrap-test
	@$(MAKE) --no-print-directory programs
	@$(PY) tests/tiers.py $(@:test-%=%)

test-vm: bootstrap-test
	@$(MAKE) --no-print-directory programs
	@TESTS="$(TESTS)" $(PY) tests/tiers.py vm:$(or $(KERNEL),newest)

# The unit tier on the newest Python that Debian has, with Debian's own packages, in a root of its own.
test-python: bootstrap-test
	@$(MAKE) --no-print-directory programs
	@exec $(PY) -m tests.vm.vmlib.root $(or $(SUITE),sid) -- python3 -m pytest -q -p no:cacheprovider tests/unit

# Puts each known mistake back and expects its test to fail: ROWS="3 unit vm".
test-mutations: bootstrap-test
	@$(MAKE) --no-print-directory programs
	@$(PY) tests/mutate.py $(ROWS)

# Faults at random for a quarter of an hour: SEED=1 SECONDS=900.
test-soak: bootstrap-test
	@$(MAKE) --no-print-directory programs
	@tests/vm/run --timeout 3000 -- env SCX_GAMER_SOAK_SEED=$(SEED) SCX_GAMER_SOAK_S=$(SECONDS) \
		$(PY) -m pytest -q -s tests/vm/soak

test-kernels: bootstrap-test
	@$(MAKE) --no-print-directory programs
	@TESTS="$(or $(TESTS),matrix)" $(PY) tests/tiers.py kernels

# What editors check profiles against, made of the code that checks them.
schema: bpf
	$(PY) -m scx_gamer.profiles >profiles/schema.json

clean:
	rm -rf $(BUILD) dist
