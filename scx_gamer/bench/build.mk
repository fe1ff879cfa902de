# SPDX-License-Identifier: GPL-2.0-only
# The benchmark's workload, a plain C program: `make workload`, also on its own with
# `make -f scx_gamer/bench/build.mk workload`.

WORKLOAD_SRC := $(wildcard scx_gamer/bench/*.c)
WORKLOAD_HDR := $(wildcard scx_gamer/bench/*.h)
WORKLOAD_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Werror -pthread

.PHONY: workload workload-sanitized
workload: build/bin/workload
workload-sanitized: build/bin/workload-sanitized

build/bin/workload: $(WORKLOAD_SRC) $(WORKLOAD_HDR)
	@mkdir -p $(@D)
	$(CC) $(WORKLOAD_CFLAGS) $(CFLAGS) -o $@.tmp $(WORKLOAD_SRC) && mv $@.tmp $@

build/bin/workload-sanitized: $(WORKLOAD_SRC) $(WORKLOAD_HDR)
	@mkdir -p $(@D)
	$(CC) $(WORKLOAD_CFLAGS) -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -o $@.tmp \
		$(WORKLOAD_SRC) && mv $@.tmp $@

# The short form of the matrix, in lockstep virtual time: build/bench/bench.json.
BENCH ?= --loads none,hogs-2,pipes --shapes few --pairs 2
bench: bootstrap-test
	@$(MAKE) --no-print-directory bpf workload
	@mkdir -p build/bench
	@tests/vm/run --lockstep --cpus 4 --timeout 2400 --scratch build/bench -- build/venv/bin/python \
		-m scx_gamer.bench.matrix --calibration 250 --output $(CURDIR)/build/bench/bench.json $(BENCH)
