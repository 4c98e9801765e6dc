#!/usr/bin/env bash
# Everything `make test` checks, cheapest first. QUIRE_TEST_DATA may name a folder of public models, tokenizers and
# templates; without it the tests that need it skip and say so.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=$(nproc)
# Another checkout's objects serve this one: what ccache keeps must not hold the folder's name.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
step() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }

step "layers and format"
tools/check_layers.py
tools/check_limits.py
git ls-files '*.h' '*.cpp' '*.cu' | xargs -r clang-format --dry-run -Werror

# What optimisation could change: the kernels and what stands on their bits.
release_tests="quire_kernels_test quire_golden_test quire_one_answer_test quire_engine_model_test quire_greedy_text_test
  quire_simulation_test"
step "build, release"
cmake --preset release >/dev/null
# shellcheck disable=SC2086
cmake --build --preset release -j "$jobs" --target quire $release_tests
tools/check_isa_symbols.sh build/release

step "older processors, emulated: with AVX2 and with neither"
for processor in Haswell:avx2 Nehalem:reference; do
  QUIRE_ISA=${processor#*:} timeout 300 qemu-x86_64 -cpu "${processor%:*}" build/release/bin/quire run demo -n 8 \
    -p "Tell me a story." 2>&1 | grep -v "doesn't support requested feature"
done

step "build, cuda (takes no GPU)"
if command -v nvcc >/dev/null || [ -x "${CUDA_PATH:-/usr/local/cuda}/bin/nvcc" ]; then
  cmake --preset cuda >/dev/null
  cmake --build --preset cuda -j "$jobs" --target quire quire_kernels_cuda_test
  build/cuda/src/kernels/quire_kernels_cuda_test --gtest_brief=1 | tail -4
else
  echo "skipped: nvcc is not installed (in CUDA_PATH, /usr/local/cuda or PATH)"
fi

step "build, dev (AddressSanitizer, UBSan)"
cmake --preset dev >/dev/null
cmake --build --preset dev -j "$jobs"

step "static analysis"
tools/tidy.sh

step "fuzz targets, a few seconds each"
tools/fuzz.sh 4

step "ThreadSanitizer: what threads share"
cmake --preset tsan >/dev/null
threaded_tests="base/quire_base_test engine/quire_engine_test server/quire_http_test server/quire_server_test"
# shellcheck disable=SC2046,SC2086
cmake --build --preset tsan -j "$jobs" --target $(basename -a $threaded_tests)
for test in $threaded_tests; do timeout 300 "build/tsan/src/$test" --gtest_brief=1; done

step "tests, release"
ctest --preset release -j "$jobs" -R "^($(echo $release_tests | tr ' ' '|'))\$"

step "web page, headless Chromium"
timeout 300 tools/test_web_page.sh

step "tests, dev"
ctest --preset dev -j "$jobs"
step "done"
