# make, make run, make check: see README.md.
#
# SANITIZE=1 builds everything with AddressSanitizer and UBSan below build/sanitize; `make check SANITIZE=1` tests that.

VERSION  := 0.1.0
SANITIZE ?= 0
ifeq ($(origin CC),default)
CC       := gcc
endif
PYTHON   := /usr/bin/python3

ifeq ($(SANITIZE),1)
BUILD          := build/sanitize
SANITIZE_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
else
BUILD          := build
SANITIZE_FLAGS :=
endif

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wundef -Werror
CFLAGS   ?= -O2 -g
CPPFLAGS += -D_POSIX_C_SOURCE=200809L -DCEPH_LB_VERSION='"$(VERSION)"' -Ibackend -Ingx_ceph_lb_module
ALL_CFLAGS = -std=c11 $(WARNINGS) $(CFLAGS) $(SANITIZE_FLAGS) -pthread

# Looked up when a recipe runs, since `make deps` may have to install pkg-config and the libraries first. h2o.h and
# mysql.h do not compile without warnings, so their folders count as the system's.
H2O_FLAGS     = -DH2O_USE_LIBUV=0 $(patsubst -I%,-isystem %,$(shell pkg-config --cflags libh2o-evloop))
MYSQL_FLAGS   = $(patsubst -I%,-isystem %,$(shell pkg-config --cflags libmariadb))
BACKEND_LIBS  = $(shell pkg-config --libs libh2o-evloop libmariadb yajl) -lrados -lisal -lssl -lcrypto -lz -lm -pthread
CMOCKA_LIBS   = $(shell pkg-config --libs cmocka)

BACKEND_SOURCES := $(wildcard backend/*.c)
# What the module and the backend share, and what the unit tests can link: plain C without nginx.
PURE_SOURCES    := $(wildcard ngx_ceph_lb_module/ceph_lb_*.c)
MODULE_SOURCES  := $(wildcard ngx_ceph_lb_module/*.[ch]) ngx_ceph_lb_module/config
UNIT_SOURCES    := $(wildcard tests/unit/test_*.c)

BACKEND_OBJECTS := $(BACKEND_SOURCES:%.c=$(BUILD)/%.o)
PURE_OBJECTS    := $(PURE_SOURCES:%.c=$(BUILD)/%.o)
UNIT_TESTS      := $(UNIT_SOURCES:%.c=$(BUILD)/%)
LIBRARY_OBJECTS := $(filter-out $(BUILD)/backend/main.o,$(BACKEND_OBJECTS)) $(PURE_OBJECTS)

BACKEND := $(BUILD)/ceph-lb-backend
# The same with the places where a test has it killed (backend/fault.h).
FAULTY_BACKEND := $(BUILD)/ceph-lb-backend-faults
FAULTY_OBJECTS := $(BACKEND_SOURCES:%.c=$(BUILD)/faults/%.o) $(PURE_OBJECTS)
MODULE  := $(BUILD)/ngx_http_ceph_lb_module.so

DESTDIR ?=
PREFIX  ?= /usr

# `make V=1` shows the commands.
V ?= 0
ifeq ($(V),1)
say = @true
Q   :=
else
say = @echo
Q   := @
endif

# What `make check-e2e` runs: files, or `tests/e2e -k WORD`, or anything else that pytest takes.
E2E ?= tests/e2e

.PHONY: all deps backend module unit-tests run stop clean-data check check-unit check-model check-fuzz check-e2e \
        check-nginx-versions soak lint format install clean
.DELETE_ON_ERROR:
.SECONDARY:

all: backend module

deps:
	@dev/deps

backend: $(BACKEND)
module: $(MODULE)
unit-tests: $(UNIT_TESTS)

$(BACKEND): $(BACKEND_OBJECTS) $(PURE_OBJECTS)
	$(say) "  LINK $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(BACKEND_LIBS)

$(FAULTY_BACKEND): $(FAULTY_OBJECTS)
	$(say) "  LINK $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(BACKEND_LIBS)

$(BUILD)/faults/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(say) "  CC   $< (with fault points)"
	$(Q)$(CC) $(CPPFLAGS) -DCEPH_LB_FAULT_POINTS $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/faults/backend/http.o $(BUILD)/faults/backend/http_spool.o: CPPFLAGS += $(H2O_FLAGS)
$(BUILD)/faults/backend/announce.o: CPPFLAGS += $(MYSQL_FLAGS)
$(BUILD)/backend/http.o $(BUILD)/backend/http_spool.o: CPPFLAGS += $(H2O_FLAGS)
$(BUILD)/backend/announce.o: CPPFLAGS += $(MYSQL_FLAGS)

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(say) "  CC   $<"
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LIBRARY_OBJECTS)
	$(say) "  LINK $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $< $(LIBRARY_OBJECTS) $(BACKEND_LIBS) $(CMOCKA_LIBS)

# The fuzz targets: the pure parts once more, by clang with its fuzzer and sanitizers.
FUZZ_SOURCES := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_TARGETS := $(FUZZ_SOURCES:tests/fuzz/%.c=build/fuzz/%)
FUZZ_PARTS   := accept address buffer condition crc32c digest field form gc http_date index json layout log manifest name query range \
                stripe upload xalloc
FUZZ_OBJECTS := $(FUZZ_PARTS:%=build/fuzz/backend/%.o) $(PURE_SOURCES:%.c=build/fuzz/%.o)
FUZZ_FLAGS   := -std=c11 -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined

build/fuzz/fuzz_%: build/fuzz/tests/fuzz/fuzz_%.o $(FUZZ_OBJECTS)
	$(say) "  LINK $@"
	$(Q)clang $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ -lrados -lyajl -lisal -lcrypto

build/fuzz/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(say) "  CC   $< (to be fuzzed)"
	$(Q)clang $(CPPFLAGS) $(WARNINGS) $(FUZZ_FLAGS) -MMD -MP -c -o $@ $<

-include $(FUZZ_OBJECTS:.o=.d)

-include $(BACKEND_OBJECTS:.o=.d) $(FAULTY_OBJECTS:.o=.d) $(PURE_OBJECTS:.o=.d) $(UNIT_TESTS:=.d)

# Against Debian's nginx, out of tree: nothing is written below /usr/share/nginx/src.
$(MODULE): $(MODULE_SOURCES) Makefile dev/build-module
	$(say) "  NGINX MODULE $@"
	$(Q)dev/build-module "$(abspath $(BUILD)/nginx)" "$(abspath $@)" "$(CFLAGS) $(SANITIZE_FLAGS)"

run: deps
	@$(MAKE) --no-print-directory all
	@dev/stack up

stop:
	@dev/stack down

clean-data:
	@dev/stack clean-data

# The packages first, in a make of their own: what follows asks pkg-config.
check: deps
	@dev/deps browser
	@$(MAKE) --no-print-directory check-unit
	@$(MAKE) --no-print-directory check-model
	@$(MAKE) --no-print-directory check-fuzz
	@$(MAKE) --no-print-directory check-e2e

check-unit: $(UNIT_TESTS)
	prove --failures --comments $(UNIT_TESTS)

# `tests/fuzz/run SECONDS TARGET` goes on for longer.
check-fuzz: $(FUZZ_TARGETS)
	@tests/fuzz/run

# The protocol of docs/format.md, by a model checker. `tests/model/run histories` shows what it finds in mistakes.
check-model:
	@tests/model/run

check-e2e: all $(FAULTY_BACKEND)
	SANITIZE=$(SANITIZE) BUILD_DIR=$(abspath $(BUILD)) PYTHON=$(PYTHON) \
	    $(if $(filter tests/e2e,$(E2E)),tests/e2e/run,$(PYTHON) -m pytest -p no:cacheprovider $(E2E))

# Ten minutes under load while one thing after another fails, and the promise of the list at length.
SOAK_SECONDS ?= 600
EXACTNESS_REQUESTS ?= 100000
soak: deps
	@$(MAKE) --no-print-directory all
	SOAK_SECONDS=$(SOAK_SECONDS) EXACTNESS_REQUESTS=$(EXACTNESS_REQUESTS) SANITIZE=$(SANITIZE) \
	    BUILD_DIR=$(abspath $(BUILD)) $(PYTHON) -m pytest -p no:cacheprovider -s \
	    tests/e2e/test_soak.py tests/e2e/test_lb_exactness.py

# Against the headers of newer nginx too. Not part of `make check`, for it needs Debian's servers.
check-nginx-versions: export CFLAGS := $(CFLAGS)
check-nginx-versions:
	@dev/check-nginx-versions

lint:
	@dev/deps lint
	@dev/lint

format:
	@clang-format -i $(wildcard backend/*.[ch] tests/unit/*.[ch] tests/fuzz/*.[ch] ngx_ceph_lb_module/*.[ch])

install: all
	install -D -m 0755 $(BACKEND) $(DESTDIR)$(PREFIX)/sbin/ceph-lb-backend
	install -D -m 0644 $(MODULE) $(DESTDIR)$(PREFIX)/lib/nginx/modules/ngx_http_ceph_lb_module.so
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/ceph-lb sql/schema.sql sql/upgrade.sql sql/version.sql \
	    nginx.conf.example

clean:
	rm -rf build
