#!/usr/bin/env bash
# The tests that a change must pass. Stops at the first failure; at the end it prints how long each step took.
#   tools/test.sh           everything, cheapest first (make test)
#   tools/test.sh --quick   layers, format, clang-tidy and the release build with all its tests (make check)
# QUIRE_TEST_DATA may name a folder of public models, tokenizers and templates; without it the tests that need it skip
# and say so.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=$(nproc)
mkdir -p build

# ---- steps -------------------------------------------------------------------------------------------------------------

rows=() current="" began=0 cpu_before=0
declare -A background  # process groups by name, of `beside`
cpu_file=$(mktemp)

# Processor seconds of all programs that have ended so far.
cpu_seconds() {
  times >"$cpu_file"  # in this shell: a subshell has no children
  awk 'END { split($1, user, /[ms]/); split($2, kernel, /[ms]/)
             printf "%d", 60 * (user[1] + kernel[1]) + user[2] + kernel[2] }' "$cpu_file"
}

# step NAME: ends the step before, begins another.
step() {
  if [ -n "$current" ]; then
    cpu_seconds >"$cpu_file.now"
    rows+=("$(printf '%7d %7d   %s' $((SECONDS - began)) $(($(<"$cpu_file.now") - cpu_before)) "$current")")
  fi
  cpu_seconds >"$cpu_file.now"
  cpu_before=$(<"$cpu_file.now") current=$1 began=$SECONDS
  [ -z "$current" ] || printf '\n== %s\n' "$current"
}

report() {
  local status=$? failed=$current
  trap - EXIT
  for group in "${background[@]}"; do kill -- "-$group" 2>/dev/null || true; done
  step ""
  printf '\n%7s %7s\n' seconds "of CPU"
  printf '%s\n' "${rows[@]}"
  printf '%7d           together\n' "$SECONDS"
  rm -f "$cpu_file" "$cpu_file.now"
  [ "$status" -eq 0 ] || echo "FAILED: $failed"
  exit "$status"
}
trap report EXIT
trap 'exit 130' INT TERM

# run_tests PRESET PROGRAM...: these programs as CTest knows them, in one entry or in parts.
run_tests() {
  local preset=$1
  shift
  ctest --preset "$preset" -j "$jobs" --no-tests=error -R "^($(echo "$@" | tr ' ' '|'))(\.[0-9]+)?\$"
}

# beside NAME COMMAND...: runs it in the background and keeps what it prints in build/NAME.log, because no step alone
# keeps all processors busy to its end. finish NAME: waits for it, and fails if it failed.
beside() {
  local name=$1
  shift
  set -m  # a process group of its own, which report() can end as a whole
  "$@" >"build/$name.log" 2>&1 &
  background[$name]=$!
  set +m
}
finish() {
  wait "${background[$1]}" || { tail -100 "build/$1.log"; exit 1; }
  unset "background[$1]"
  echo "-- $1:"
  tail -4 "build/$1.log"
}

# ---- checks ------------------------------------------------------------------------------------------------------------

step "layers and format"
tools/check_layers.py
tools/check_limits.py
tools/check_names.py
tools/check_headers.sh
git ls-files '*.h' '*.cpp' '*.cu' | xargs -r clang-format --dry-run -Werror

if [ "${1:-}" = --quick ]; then
  step "static analysis"
  tools/tidy.py
  step "build, release"
  cmake --preset release >/dev/null
  cmake --build --preset release -j "$jobs"
  step "tests, release"
  ctest --preset release -j "$jobs"
  exit
fi

step "build, release"
# Tests that optimisation could change: the kernels and everything that depends on their bits.
release_tests="quire_kernels_test quire_golden_test quire_one_answer_test quire_engine_model_test quire_greedy_text_test
  quire_simulation_test"
cmake --preset release >/dev/null
# shellcheck disable=SC2086
cmake --build --preset release -j "$jobs" --target quire $release_tests
tools/check_isa_symbols.sh build/release

step "older processors, emulated: with AVX2 and with neither"
for processor in Haswell:avx2 Nehalem:reference; do
  QUIRE_ISA=${processor#*:} timeout 300 qemu-x86_64 -cpu "${processor%:*}" build/release/bin/quire run demo -n 8 \
    -p "Tell me a story." 2>&1 | grep -v "doesn't support requested feature"
done

cuda_check() {
  if ! command -v nvcc >/dev/null && ! [ -x "${CUDA_PATH:-/usr/local/cuda}/bin/nvcc" ]; then
    echo "skipped: nvcc is not installed (in CUDA_PATH, /usr/local/cuda or PATH)"
    return
  fi
  cmake --preset cuda >/dev/null
  cmake --build --preset cuda -j "$jobs" --target quire quire_kernels_cuda_test
  build/cuda/src/kernels/quire_kernels_cuda_test --gtest_brief=1
}

step "static analysis; build, cuda (takes no GPU)"
beside cuda cuda_check
tools/tidy.py
finish cuda

threaded_tests="quire_base_test quire_engine_test quire_http_test quire_server_test"  # state that threads share
step "fuzz targets, a few seconds each; build, ThreadSanitizer"
beside fuzz tools/fuzz.sh 4
cmake --preset tsan >/dev/null
# shellcheck disable=SC2086
cmake --build --preset tsan -j "$jobs" --target $threaded_tests
finish fuzz

step "tests, ThreadSanitizer"
# Searches and draws of one thread take the most time and share nothing.
# shellcheck disable=SC2086
GTEST_FILTER='-SmallScope.*:GeneratedTokens.DraftsDoNotChangeTheDistribution' run_tests tsan $threaded_tests

step "build, dev (AddressSanitizer, UBSan); web page, headless Chromium"
beside web_page timeout 300 tools/test_web_page.sh  # the browser mostly waits
cmake --preset dev >/dev/null
cmake --build --preset dev -j "$jobs"
finish web_page

step "tests, release"
# shellcheck disable=SC2086
run_tests release $release_tests

step "tests, dev"
ctest --preset dev -j "$jobs"
