# What a person types. The work is done by CMake (CMakePresets.json) and by scripts/.

PREFIX ?= /usr/local
DESTDIR ?=
export BOOK

.DEFAULT_GOAL := help
.PHONY: help build demo test bench trends format lint install clean

help: ## list the targets
	@echo "longhand: models over long context"
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
	    while IFS='|' read -r target text; do printf '%-16s %s\n' "$$target" "$$text"; done
	@echo
	@echo "The command is built as build/longhand; build/longhand --help lists its verbs."

build: ## install what is missing and build build/longhand
	@scripts/install-deps.sh build
	@scripts/build.sh release

demo: ## train a small model on a book, evaluate it, write report.html (BOOK=file.txt for your own)
	@scripts/install-deps.sh build demo
	@scripts/build.sh release
	@scripts/demo.sh

test: ## build and run all tests
	@scripts/install-deps.sh build test
	@scripts/test.sh

bench: ## measure speed and memory beside the machine's ceilings (ONLY=name for one benchmark)
	@scripts/install-deps.sh build test
	@scripts/bench.sh $(ONLY)

trends: ## the long learning tests: published trends on small models (ONLY=name for one)
	@scripts/install-deps.sh build
	@scripts/build.sh release
	@scripts/trends.sh $(ONLY)

format: ## format the C sources in place
	@scripts/install-deps.sh lint
	@git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format -i

lint: ## check formatting, layering, clang-tidy and cppcheck
	@scripts/install-deps.sh build test lint
	@scripts/lint.sh

install: build ## install into PREFIX (default /usr/local), below DESTDIR if given
	@DESTDIR="$(DESTDIR)" cmake --install build --prefix "$(PREFIX)" >build/install.log || { cat build/install.log; exit 1; }
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig
	@echo "longhand is installed in $(DESTDIR)$(PREFIX)"

clean: ## remove everything that was built
	rm -rf build build-debug build-clang build-asan build-fuzz
