# glide: text -> 64x64 -> 256x256 diffusion in C.  `make help` lists the targets.

CC      ?= gcc
ONEDNN  ?= 1
DEVELOPER ?= 0
BUILD   ?= build
PROMPT  ?= red apple, fluent 3d emoji
SEED    ?= 4
OUT     ?= demo.png
DATASET ?= $(BUILD)/emoji.h5
FIXTURES ?= tests/fixtures
PREFIX  ?= /usr/local
WEIGHTS ?= data/weights

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(MAKELEVEL),0) # the makes it calls share its jobs
ifeq (,$(filter -j%,$(MAKEFLAGS)))
MAKEFLAGS += -j$(shell nproc)
endif
endif

# --- what is linked -------------------------------------------------------------------------------
LIB_PKGS     := hdf5 libpng libjpeg libwebp libwebpdemux libutf8proc jansson libzip zlib stb
BUILDER_PKGS := librsvg-2.0
SERVE_PKGS   := libmicrohttpd
TEST_PKGS    := cmocka
pkg_cflags    = $(shell pkg-config --cflags $(1) 2>/dev/null)
pkg_libs      = $(shell pkg-config --libs $(1) 2>/dev/null)

WARN   := -Wall -Wextra -Wshadow -Wvla -Wmissing-prototypes -Wstrict-prototypes
ifeq ($(DEVELOPER),1)
WARN   += -Werror
endif
OPT    ?= -O3 -g
FLAGS  := -std=c11 -D_GNU_SOURCE -fopenmp -fPIC -fvisibility=hidden -fno-math-errno -fno-trapping-math \
          $(WARN) $(OPT) $(SANITIZE) -I. -MMD -MP
LIBS    = $(call pkg_libs,$(LIB_PKGS)) -lhdf5_hl -lm
ifeq ($(ONEDNN),1)
LIBS   += -ldnnl
endif

SONAME := libglide.so.0

# --- which files ----------------------------------------------------------------------------------
MODULES  := common text_transformer base_model upsampler guidance data glide
ALL_SRC  := $(foreach m,$(MODULES),$(wildcard $(m)/*.c $(m)/*/*.c))
SIMD_SRC := $(wildcard common/simd_*.c)
CLI_SRC  := $(wildcard glide/main.c glide/cli_*.c glide/cmd_*.c)
BUILDER_SRC := $(wildcard data/build_*.c)
SERVE_SRC := $(wildcard glide/serve/*.c)
SERVE_TEXTS := $(wildcard glide/serve/*.html glide/serve/*.json) # compiled into the program
SKIP_SRC := $(if $(filter 1,$(ONEDNN)),common/kernels_no_onednn.c,common/kernels_onednn.c $(wildcard common/onednn_*.c))
LIB_SRC  := $(filter-out $(SIMD_SRC) $(CLI_SRC) $(BUILDER_SRC) $(SERVE_SRC) $(SKIP_SRC),$(ALL_SRC))
TEST_SRC := $(wildcard tests/test_*.c)
SUPPORT_SRC := $(wildcard tests/support_*.c)
TOOL_SRC := $(wildcard tests/tools/*.c)

# Every simd_*.c is compiled once per instruction set; the best one is picked when the program starts.
ifneq (,$(findstring x86_64,$(shell $(CC) -dumpmachine 2>/dev/null)))
SIMD_ISAS := generic v3 v4
else
SIMD_ISAS := generic
endif
SIMD_FLAGS_v3 := -march=x86-64-v3
SIMD_FLAGS_v4 := -march=x86-64-v4 -mprefer-vector-width=512

OBJ       = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIB_OBJ  := $(call OBJ,$(LIB_SRC)) $(foreach i,$(SIMD_ISAS),$(patsubst %.c,$(BUILD)/obj/%.$(i).o,$(SIMD_SRC)))
SERVE_OBJ := $(call OBJ,$(SERVE_SRC)) $(patsubst %,$(BUILD)/obj/%.o,$(SERVE_TEXTS))
TESTS    := $(patsubst tests/%.c,$(BUILD)/tests/%,$(TEST_SRC))
TOOLS    := $(patsubst tests/tools/%.c,$(BUILD)/tools/%,$(TOOL_SRC))

# What is built in a short line each; V=1 shows the commands, -s nothing.
QUIET := $(if $(V),,@)
TELL   = $(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),,@printf '  %-4s %s\n' $(1) $(2))

# --- targets --------------------------------------------------------------------------------------
.PHONY: help deps all install uninstall demo test test-long parity bench lint format asan ubsan tsan clean dataset run-tests
.DEFAULT_GOAL := all

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install missing Debian packages (sudo only when not root)
	@CC="$(CC)" ONEDNN=$(ONEDNN) sh tests/tools/deps.sh

all: $(BUILD)/glide $(BUILD)/glide-dataset $(BUILD)/libglide.a $(BUILD)/libglide.so ## the program and the library

# Manual pages and completions are printed by the program from its tables of options.
BIN := $(DESTDIR)$(PREFIX)/bin
LIB := $(DESTDIR)$(PREFIX)/lib
SHARE := $(DESTDIR)$(PREFIX)/share
VERSION := $(shell sed -n 's/.*GLIDE_VERSION "\(.*\)"/\1/p' glide/version.h)
install: all ## PREFIX=/usr/local DESTDIR= WEIGHTS=data/weights: program, library, header, weights, manual pages, completions
	@install -d "$(BIN)" "$(LIB)/pkgconfig" "$(DESTDIR)$(PREFIX)/include/glide" "$(SHARE)/glide" "$(SHARE)/man/man1" \
	    "$(SHARE)/bash-completion/completions" "$(SHARE)/zsh/site-functions" "$(SHARE)/fish/vendor_completions.d"
	@install $(BUILD)/glide $(BUILD)/glide-dataset "$(BIN)"
	@install -m 644 $(BUILD)/libglide.a "$(LIB)"
	@install -m 644 $(BUILD)/libglide.so "$(LIB)/libglide.so.$(VERSION)"
	@ln -sf libglide.so.$(VERSION) "$(LIB)/$(SONAME)" && ln -sf $(SONAME) "$(LIB)/libglide.so"
	@install -m 644 glide/glide.h "$(DESTDIR)$(PREFIX)/include/glide"
	@install -m 644 $(wildcard $(WEIGHTS)/*.h5) $(wildcard data/ATTRIBUTION.txt) "$(SHARE)/glide"
	@sh tests/tools/pkgconfig.sh "$(PREFIX)" "$(VERSION)" "$(LIBS) -fopenmp" > "$(LIB)/pkgconfig/glide.pc"
	@$(BUILD)/glide help --man > "$(SHARE)/man/man1/glide.1"
	@for c in $$($(BUILD)/glide help | sed -n '/^Commands:/,/^$$/s/^  \([a-z]*\) .*/\1/p'); do \
	    $(BUILD)/glide help --man $$c > "$(SHARE)/man/man1/glide-$$c.1" || exit 1; done
	@$(BUILD)/glide help --completion bash > "$(SHARE)/bash-completion/completions/glide"
	@$(BUILD)/glide help --completion zsh > "$(SHARE)/zsh/site-functions/_glide"
	@$(BUILD)/glide help --completion fish > "$(SHARE)/fish/vendor_completions.d/glide.fish"

uninstall: ## PREFIX=/usr/local DESTDIR=: what install put there
	@rm -f "$(BIN)/glide" "$(BIN)/glide-dataset" "$(LIB)"/libglide.* "$(LIB)/pkgconfig/glide.pc" "$(SHARE)"/man/man1/glide.1 \
	    "$(SHARE)"/man/man1/glide-*.1 "$(SHARE)/bash-completion/completions/glide" "$(SHARE)/zsh/site-functions/_glide" \
	    "$(SHARE)/fish/vendor_completions.d/glide.fish" "$(SHARE)"/glide/*.h5 "$(SHARE)/glide/ATTRIBUTION.txt"
	@rm -f "$(DESTDIR)$(PREFIX)/include/glide/glide.h"
	@rmdir "$(SHARE)/glide" "$(DESTDIR)$(PREFIX)/include/glide"

demo: deps ## PROMPT="..." SEED=4 OUT=demo.png: a prompt becomes a 256x256 PNG with the default weights
	@$(MAKE) --no-print-directory $(BUILD)/glide
	$(BUILD)/glide sample "$(PROMPT)" --seed $(SEED) -o "$(OUT)"

dataset: deps ## fetch the pinned packages and build the training data set (DATASET=...)
	@$(MAKE) --no-print-directory all
	$(BUILD)/glide dataset -o "$(DATASET)"

test: deps ## build and run all tests
	@$(MAKE) --no-print-directory run-tests

run-tests: all $(TESTS) $(TOOLS)
	@sh tests/tools/run_tests.sh $(BUILD) $(TESTS)

test-long: deps ## the tests that take longer than a build server should wait
	@$(MAKE) --no-print-directory all $(TESTS) $(TOOLS)
	@GLIDE_TEST_LONG=1 sh tests/tools/run_tests.sh $(BUILD) $(TESTS)

parity: $(TOOLS) ## FIXTURES=DIR: compare with numbers of the reference implementations
	@$(BUILD)/tools/parity $(FIXTURES)

bench: all ## SPEED.md's table in Markdown, full-size models included: build/bench.md
	$(BUILD)/glide bench table -o $(BUILD)/bench.md
	@cat $(BUILD)/bench.md

lint: ## include directions, headers compile alone, unique file names, lengths of files and functions
	@CC="$(CC)" FLAGS="$(filter-out -MMD -MP,$(FLAGS)) $(call pkg_cflags,$(LIB_PKGS) $(BUILDER_PKGS) $(SERVE_PKGS) $(TEST_PKGS))" sh tests/tools/lint.sh

format: ## clang-format on every source file
	clang-format -i $(shell git ls-files '*.c' '*.h')

SAN_ENV := OMP_NUM_THREADS=2
asan: ## tests under the address sanitizer
	$(SAN_ENV) ASAN_OPTIONS=detect_leaks=0 $(MAKE) BUILD=build/asan OPT="-O2 -g" SANITIZE="-fsanitize=address -fno-omit-frame-pointer" run-tests
ubsan: ## tests under the undefined behaviour sanitizer
	$(SAN_ENV) UBSAN_OPTIONS=halt_on_error=1 $(MAKE) BUILD=build/ubsan OPT="-O2 -g" SANITIZE="-fsanitize=undefined -fno-sanitize-recover=all" run-tests
tsan: ## tests under the thread sanitizer (OMP_NUM_THREADS=1 hides OpenMP's own hand-overs)
	OMP_NUM_THREADS=1 $(MAKE) BUILD=build/tsan OPT="-O1 -g" SANITIZE="-fsanitize=thread" run-tests

clean: ## remove build/
	rm -rf build

# --- rules ----------------------------------------------------------------------------------------
$(BUILD)/libglide.a: $(LIB_OBJ)
	$(call TELL,AR,$@)
	@rm -f $@; $(AR) rcs $@ $^

$(BUILD)/libglide.so: $(LIB_OBJ)
	$(call TELL,LD,$@)
	$(QUIET)$(CC) -shared -Wl,-soname,$(SONAME) $(FLAGS) -o $@ $^ $(LIBS)
	@ln -sf libglide.so $(BUILD)/$(SONAME)

$(BUILD)/glide: $(call OBJ,$(CLI_SRC)) $(SERVE_OBJ) $(BUILD)/libglide.a
	$(call TELL,LD,$@)
	$(QUIET)$(CC) $(FLAGS) -o $@ $^ $(LIBS) $(call pkg_libs,$(SERVE_PKGS))

$(BUILD)/glide-dataset: $(call OBJ,$(BUILDER_SRC)) $(BUILD)/libglide.a
	$(call TELL,LD,$@)
	$(QUIET)$(CC) $(FLAGS) -o $@ $^ $(LIBS) $(call pkg_libs,$(BUILDER_PKGS))

$(BUILD)/libsupport.a: $(call OBJ,$(SUPPORT_SRC))
	$(call TELL,AR,$@)
	@rm -f $@; $(AR) rcs $@ $^

$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(BUILD)/libsupport.a $(BUILD)/libglide.a
	@mkdir -p $(@D)
	$(call TELL,LD,$@)
	$(QUIET)$(CC) $(FLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS) $(call pkg_libs,$(TEST_PKGS))

# The command line's frame and the server are no part of the library: their tests link them themselves.
$(filter $(BUILD)/tests/test_cli_%,$(TESTS)): $(call OBJ,$(wildcard glide/cli_*.c))
$(filter $(BUILD)/tests/test_serve%,$(TESTS)): $(SERVE_OBJ)
$(filter $(BUILD)/tests/test_serve%,$(TESTS)): LIBS += $(call pkg_libs,$(SERVE_PKGS))

$(BUILD)/tools/%: $(BUILD)/obj/tests/tools/%.o $(BUILD)/libsupport.a $(BUILD)/libglide.a
	@mkdir -p $(@D)
	$(call TELL,LD,$@)
	$(QUIET)$(CC) $(FLAGS) -o $@ $^ $(LIBS) $(call pkg_libs,$(TEST_PKGS))

$(BUILD)/obj/data/build_%.o: CPPFLAGS += $(call pkg_cflags,$(BUILDER_PKGS))

$(BUILD)/obj/glide/serve/%.o: CPPFLAGS += $(call pkg_cflags,$(SERVE_PKGS))

# page.html -> unsigned char page_html[], as glide/serve/serve_texts.h declares it
$(BUILD)/gen/%.c: %
	@mkdir -p $(@D)
	@{ echo '#include "glide/serve/serve_texts.h"'; echo 'const unsigned char $(subst .,_,$(notdir $<))[] = {'; \
	   od -An -v -tu1 $< | sed 's/[0-9][0-9]*/&,/g'; echo '};'; \
	   echo 'const size_t $(subst .,_,$(notdir $<))_size = sizeof $(subst .,_,$(notdir $<));'; } > $@.part && mv $@.part $@

$(patsubst %,$(BUILD)/obj/%.o,$(SERVE_TEXTS)): $(BUILD)/obj/%.o: $(BUILD)/gen/%.c
	@mkdir -p $(@D)
	$(call TELL,CC,$<)
	$(QUIET)$(CC) $(FLAGS) -c -o $@ $<

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call TELL,CC,$<)
	$(QUIET)$(CC) $(FLAGS) $(call pkg_cflags,$(LIB_PKGS)) $(CPPFLAGS) -c -o $@ $<

define simd_rule
$(BUILD)/obj/common/simd_%.$(1).o: common/simd_%.c
	@mkdir -p $$(@D)
	$$(call TELL,CC,$$@)
	$$(QUIET)$$(CC) $$(FLAGS) -ffp-contract=fast $$(SIMD_FLAGS_$(1)) -DSIMD_ISA=$(1) -c -o $$@ $$<
endef
$(foreach i,$(SIMD_ISAS),$(eval $(call simd_rule,$(i))))

.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
