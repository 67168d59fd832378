# SPDX-License-Identifier: GPL-3.0-or-later
# safepoint: `make help` says what can be made. Everything made is under build/.

CC ?= gcc
PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build
SID ?= build/sid
PYTEST ?= /usr/bin/python3 -m pytest
# More options for pytest: make check PYTEST_ARGS='-k console'
PYTEST_ARGS ?=
JOBS ?= $(shell nproc)
# Half of what the tests do is to wait.
PYTEST_JOBS ?= $(shell expr $(JOBS) + $(JOBS) / 2)

CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wshadow -Wmissing-prototypes
HARDENING := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
ALL_CPPFLAGS = -D_GNU_SOURCE -I. -MMD -MP $(CPPFLAGS)
ALL_CFLAGS = -std=c11 $(WARNINGS) $(HARDENING) $(PKG_CFLAGS) $(CFLAGS) $(EXTRA_CFLAGS)
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)

# The machine the compiler makes code for; attach/arch/*.c guard themselves.
ARCH := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))

SOURCES := $(sort $(wildcard attach/*.c attach/arch/*.c runtime/*.c runtime/heap/*.c inject/*.c protocol/*.c cli/*.c))
ASSEMBLY := $(wildcard inject/stub_$(ARCH).S)
AGENTS := $(sort $(wildcard inject/agent/*.py))
UNIT_TESTS := $(sort $(wildcard tests/unit/test_*.c))

OBJECTS := $(SOURCES:%.c=$(BUILD)/obj/%.o) $(ASSEMBLY:%.S=$(BUILD)/obj/%.o) \
           $(AGENTS:inject/agent/%.py=$(BUILD)/obj/agent/%.o)
# In build/fault alone: tests/fault/fault.c stands before these. The linker complains when this and that file differ.
ifeq ($(notdir $(BUILD)),fault)
FAULT_WRAPS := ptrace process_vm_readv process_vm_writev pread pwrite borrow_chain \
               malloc calloc realloc reallocarray strdup strndup vasprintf asprintf open_memstream tmpfile \
               socket bind listen accept4 getsockopt send recv fcntl syscall read fopen opendir open openat
OBJECTS += $(BUILD)/obj/tests/fault/fault.o
ALL_LDFLAGS += $(FAULT_WRAPS:%=-Wl,--wrap=%)
endif
LIBRARY_OBJECTS := $(filter-out $(BUILD)/obj/cli/main.o,$(OBJECTS))
UNIT_PROGRAMS := $(UNIT_TESTS:tests/unit/%.c=$(BUILD)/unit/%)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:

# What pkg-config says about the libraries, after the packages for a build are there.
ifneq ($(filter-out help clean deps format lint-scripts,$(or $(MAKECMDGOALS),all)),)
include build/packages.mk
endif
build/packages.mk: tools/deps.sh
	@tools/deps.sh build
	@mkdir -p $(@D)
	@{ echo "PKG_CFLAGS := $$(pkg-config --cflags libelf libdw readline smartcols libzstd libxxhash)"; \
	   echo "PKG_LIBS := $$(pkg-config --libs libelf libdw readline smartcols libzstd libxxhash)"; } >$@.new
	@mv $@.new $@

build/deps-%.stamp: tools/deps.sh
	@tools/deps.sh $*
	@mkdir -p $(@D)
	@touch $@

## all: the program, build/safepoint (the default)
.PHONY: all
all: $(BUILD)/safepoint

# A change of flags makes everything again.
FLAGS_TEXT = $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(PKG_LIBS)
$(BUILD)/flags: force
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(FLAGS_TEXT))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(FLAGS_TEXT))' >$@
.PHONY: force
force:

$(BUILD)/safepoint: $(OBJECTS)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) $(LIBS)

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/obj/%.o: %.S $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/agent/%.c: inject/agent/%.py tools/embed.sh
	@mkdir -p $(@D)
	tools/embed.sh $* $< >$@

$(BUILD)/obj/agent/%.o: $(BUILD)/agent/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/unit/%: tests/unit/%.c $(LIBRARY_OBJECTS) $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MF $@.d -o $@ $< $(LIBRARY_OBJECTS) $(PKG_LIBS) $(LIBS) -lcmocka

# Programs that tests run beside the library: the heap's comparison with the oracle.
$(BUILD)/heap/%: tests/heap/%.c $(LIBRARY_OBJECTS) $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MF $@.d -o $@ $< $(LIBRARY_OBJECTS) $(PKG_LIBS) $(LIBS)

# What the live tests of the freeze run.
$(BUILD)/freeze: tests/freeze/freeze.c $(LIBRARY_OBJECTS) $(BUILD)/flags
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MF $@.d -o $@ $< $(LIBRARY_OBJECTS) $(PKG_LIBS) $(LIBS)

# Stacks read again and again, for the live tests.
$(BUILD)/stack-reads: tests/stack/reads.c $(LIBRARY_OBJECTS) $(BUILD)/flags
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MF $@.d -o $@ $< $(LIBRARY_OBJECTS) $(PKG_LIBS) $(LIBS)

# All that a snapshot has, for the live tests.
$(BUILD)/snapshot-dump: tests/snapshot/dump.c $(LIBRARY_OBJECTS) $(BUILD)/flags
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MF $@.d -o $@ $< $(LIBRARY_OBJECTS) $(PKG_LIBS) $(LIBS)

# Layouts against debug information, for the live tests.
$(BUILD)/layout-check: tests/debug_info/check.c $(LIBRARY_OBJECTS) $(BUILD)/flags
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MF $@.d -o $@ $< $(LIBRARY_OBJECTS) $(PKG_LIBS) $(LIBS)

# The program without its tables of layouts: it knows a Python by its debug information alone.
NO_TABLES := layout_find_table layout_find_supplement heap_layout_tables_count
$(BUILD)/safepoint-no-tables: $(OBJECTS) tests/debug_info/no_tables.c
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(NO_TABLES:%=-Wl,--wrap=%) -MF $@.d -o $@ tests/debug_info/no_tables.c $(OBJECTS) $(PKG_LIBS) $(LIBS)

# Every source compiled and nothing linked (lint).
.PHONY: objects
objects: $(OBJECTS)

## check: unit tests, then live tests on every Python found (makes build/sid first)
.PHONY: check
check: build/deps-check.stamp $(BUILD)/safepoint $(BUILD)/freeze $(BUILD)/snapshot-dump $(BUILD)/stack-reads $(BUILD)/heap/compare $(BUILD)/heap/torn $(BUILD)/layout-check $(BUILD)/safepoint-no-tables unit sid faults
	SAFEPOINT=$(abspath $(BUILD)/safepoint) $(PYTEST) tests/live -n $(PYTEST_JOBS) $(PYTEST_ARGS)
	SAFEPOINT=$(abspath $(BUILD)/safepoint) $(PYTEST) tests/heap -m 'not long' -n $(PYTEST_JOBS) $(PYTEST_ARGS)

## oracle: heaps read from outside against what is true inside, real libraries too, on every Python found; prints a table
.PHONY: oracle
oracle: build/deps-check.stamp build/deps-oracle.stamp $(BUILD)/safepoint $(BUILD)/heap/compare $(BUILD)/heap/torn sid
	SAFEPOINT=$(abspath $(BUILD)/safepoint) $(PYTEST) tests/heap -n $(PYTEST_JOBS) $(PYTEST_ARGS)

## support: how each kind of blocked target is served on every Python found, written to docs/support.md
.PHONY: support
support: build/deps-check.stamp $(BUILD)/safepoint sid
	SAFEPOINT=$(abspath $(BUILD)/safepoint) /usr/bin/python3 tests/live/support.py docs/support.md

SOAK_REPORT ?= docs/soak.md

## soak: thousands of requests, kills and signals on every Python found, hours; see tests/soak/soak.py for SOAK_*
.PHONY: soak
soak: build/deps-check.stamp $(BUILD)/safepoint $(BUILD)/stack-reads sid
	SAFEPOINT=$(abspath $(BUILD)/safepoint) /usr/bin/python3 tests/soak/soak.py $(BUILD)/soak $(SOAK_REPORT)

## unit: the unit tests alone
.PHONY: unit
unit: build/deps-check.stamp $(UNIT_PROGRAMS)
	@set -e; for program in $(UNIT_PROGRAMS); do echo "$$program"; $$program; done

## sid: a root with Debian's newest Pythons in build/sid, for the live tests
.PHONY: sid
sid: build/deps-check.stamp
	@tools/sid.sh $(SID)

## asan: the same tests with an ASan + UBSan build in build/asan
.PHONY: asan
asan:
	$(MAKE) BUILD=build/asan CFLAGS='-O1 -g' HARDENING=-fPIE \
	    EXTRA_CFLAGS='-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer' check

## faults: a program for the tests, whose calls to the system can be made to fail: build/fault/safepoint
.PHONY: faults
faults:
	@$(MAKE) -s BUILD=$(BUILD)/fault HARDENING=-fPIE all

# Each tests/fuzz/fuzz_NAME.c with libFuzzer, for FUZZ_SECONDS, from and into its corpus.
FUZZ_SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

## fuzz: what parses a target's bytes, for FUZZ_SECONDS (60) each; new cases go into tests/fuzz/corpus
.PHONY: fuzz
fuzz: build/deps-lint.stamp
	@$(MAKE) -s BUILD=build/fuzz CC=clang CFLAGS='-O1 -g' HARDENING=-fPIE \
	    EXTRA_CFLAGS='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined' fuzz-run

.PHONY: fuzz-run
fuzz-run: $(FUZZERS:%=$(BUILD)/fuzz_%)
	@set -e; for name in $(FUZZERS); do \
	    $(BUILD)/fuzz_$$name -max_total_time=$(FUZZ_SECONDS) -max_len=70000 -print_final_stats=1 -verbosity=0 \
	        -artifact_prefix=$(BUILD)/$$name- tests/fuzz/corpus/$$name >$(BUILD)/$$name.log 2>&1 || { tail -40 $(BUILD)/$$name.log; exit 1; }; \
	    echo "fuzz: $$name: $$(sed -n 's/^stat::number_of_executed_units: *//p' $(BUILD)/$$name.log) inputs, no failure"; done

$(BUILD)/fuzz_%: tests/fuzz/fuzz_%.c $(LIBRARY_OBJECTS) $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -fsanitize=fuzzer $(ALL_LDFLAGS) -o $@ $< $(LIBRARY_OBJECTS) $(PKG_LIBS) $(LIBS)

## lint: warnings as errors (gcc, clang, aarch64), cppcheck, the tree's own rules
.PHONY: lint
lint: build/deps-lint.stamp lint-scripts
	@echo "lint: gcc, warnings are errors"
	@$(MAKE) -s BUILD=build/lint/gcc CC=gcc EXTRA_CFLAGS=-Werror objects
	@echo "lint: clang, warnings are errors"
	@$(MAKE) -s BUILD=build/lint/clang CC=clang EXTRA_CFLAGS=-Werror objects
	@tools/lint-cross.sh
	@echo "lint: cppcheck"
	@cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability --inline-suppr \
	    --suppressions-list=tools/cppcheck.txt --error-exitcode=1 -j $(JOBS) -D_GNU_SOURCE -D__$(ARCH)__ -I. $(SOURCES)
	@echo "lint: all well"

# The rules of the tree that need no compiler.
.PHONY: lint-scripts
lint-scripts:
	@tools/lint.sh

## format: clang-format over the C sources
.PHONY: format
format: build/deps-lint.stamp
	clang-format -i $(SOURCES) $(wildcard attach/*.h attach/arch/*.h runtime/*.h runtime/heap/*.h inject/*.h protocol/*.h cli/*.h tests/unit/*.[ch] tests/heap/*.c)

## bench: latency, pause and memory, beside sys.remote_exec and others, on one busy target; heaps of up to 10 million objects; stacks beside py-spy and pystack; tasks beside asyncio ps
.PHONY: bench
bench: build/deps-bench.stamp $(BUILD)/safepoint sid
	SAFEPOINT=$(abspath $(BUILD)/safepoint) /usr/bin/python3 tests/bench/bench.py
	SAFEPOINT=$(abspath $(BUILD)/safepoint) /usr/bin/python3 tests/bench/heap.py
	SAFEPOINT=$(abspath $(BUILD)/safepoint) /usr/bin/python3 tests/bench/leaks.py
	SAFEPOINT=$(abspath $(BUILD)/safepoint) /usr/bin/python3 tests/bench/stack.py
	SAFEPOINT=$(abspath $(BUILD)/safepoint) /usr/bin/python3 tests/bench/waits.py
	SAFEPOINT=$(abspath $(BUILD)/safepoint) /usr/bin/python3 tests/bench/export.py

## bench-freeze: a target's pause for a freeze of its memory, and what writing to it costs afterwards, by its size
.PHONY: bench-freeze
bench-freeze: $(BUILD)/safepoint $(BUILD)/freeze
	SAFEPOINT=$(abspath $(BUILD)/safepoint) /usr/bin/python3 tests/bench/freeze.py

## demo: starts a small leaking service, attaches, runs a script in it, shows its statistics, ends it
.PHONY: demo
demo: build/deps-demo.stamp $(BUILD)/safepoint
	@SAFEPOINT=$(abspath $(BUILD)/safepoint) examples/demo.sh

## deps: names the Debian packages that are missing for all of this and installs them (root or sudo)
.PHONY: deps
deps:
	@tools/deps.sh build demo check oracle lint bench
	@echo "deps: everything is there"

## install: the program, its man page and completion under PREFIX (/usr/local), below DESTDIR
.PHONY: install
install: $(BUILD)/safepoint
	install -D -m 755 $(BUILD)/safepoint '$(DESTDIR)$(PREFIX)/bin/safepoint'
	$(BUILD)/safepoint help man >$(BUILD)/safepoint.1
	install -D -m 644 $(BUILD)/safepoint.1 '$(DESTDIR)$(PREFIX)/share/man/man1/safepoint.1'
	$(BUILD)/safepoint help completion >$(BUILD)/safepoint.bash
	install -D -m 644 $(BUILD)/safepoint.bash '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/safepoint'

## clean: removes what was built (build/sid, which takes a while to make, stays)
.PHONY: clean
clean:
	rm -rf build/obj build/agent build/unit build/asan build/lint build/bench build/safepoint build/flags build/packages.mk build/deps-*.stamp

## help: this
.PHONY: help
help:
	@sed -n 's/^## \([a-z-]*\): /\1\t/p' Makefile | awk -F '\t' '{ printf "make %-8s %s\n", $$1, $$2 }'

-include $(OBJECTS:.o=.d) $(UNIT_PROGRAMS:=.d)
