# SPDX-License-Identifier: GPL-2.0-or-later
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

# The matrix in lockstep virtual time, spread over several guests: build/bench/bench.json. BENCH="--long" for all of it,
# BENCH="--loads pipes --object other.bpf.o" for a part of it against another scheduler.
BENCH ?=
bench: bootstrap-test
	@$(MAKE) --no-print-directory bpf workload
	@exec $(PY) -m tests.vm.lockstep.bench $(BENCH)

# The instrument itself: two boots must agree within one percent. BENCH="--machine all" for the machines' rates.
bench-selftest: bootstrap-test
	@$(MAKE) --no-print-directory bpf workload
	@exec $(PY) -m tests.vm.lockstep.selftest $(BENCH)
