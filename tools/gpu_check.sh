#!/usr/bin/env bash
# Everything that needs a GPU, in one run of at most ten minutes: tests, checks and times of the CUDA table.
#   tools/gpu_check.sh OUT              builds the preset `cuda` and runs
#   tools/gpu_check.sh --pack DIR       builds, and gathers in DIR all that a machine without our dependencies needs
#   DIR/tools/gpu_check.sh --packed OUT runs that there
# OUT gets a log per step and summary.json: the machine and the result of each step. Exit status: 1 when a step failed,
# 2 when there is no GPU. QUIRE_CHECK_SECONDS is the limit of the whole run (default 600).
set -uo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
programs="src/kernels/quire_kernels_cuda_test src/kernels/quire_kernels_cuda_bench tests/quire_golden_test
  tests/quire_one_answer_test tests/quire_cuda_sampling_test bin/quire"
limit=${QUIRE_CHECK_SECONDS:-600}
rows=""
failures=0

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# ---- results -----------------------------------------------------------------------------------------------------------

# record NAME RESULT SECONDS WORD
record() {
  printf '%-24s %-8s %4s s  %s\n' "$1" "$2" "$3" "$4"
  rows="$rows${rows:+,}
    {\"step\": \"$1\", \"result\": \"$2\", \"seconds\": $3, \"word\": \"$4\"}"
  if [ "$2" = failed ]; then failures=$((failures + 1)); fi
}

# step NAME MOST_SECONDS COMMAND...: its output goes to OUT/NAME.log. A program that ran no test counts as skipped.
step() {
  local name=$1 most=$2 began=$SECONDS left=$((limit - SECONDS)) status word
  shift 2
  if [ "$left" -lt 5 ]; then record "$name" skipped 0 "no time left of $limit s"; return 1; fi
  if [ "$most" -gt "$left" ]; then most=$left; fi
  timeout "$most" "$@" >"$out/$name.log" 2>&1
  status=$?
  if [ $status -eq 0 ] && grep -q '0 tests from 0 test suites ran' "$out/$name.log"; then
    record "$name" skipped 0 "the program has no such tests"
  elif [ $status -eq 0 ] && grep -q 'no CUDA device on this machine' "$out/$name.log"; then
    record "$name" skipped 0 "the tests found no CUDA device"
  elif [ $status -eq 0 ]; then
    record "$name" passed $((SECONDS - began)) ""
  else
    word="status $status, see $name.log"
    if [ $status -eq 124 ]; then word="stopped after $most s"; fi
    record "$name" failed $((SECONDS - began)) "$word"
    return 1
  fi
}

# ask FIELD: of the first GPU
ask() { nvidia-smi --query-gpu="$1" --format=csv,noheader --id=0 2>/dev/null | head -1; }

write_summary() {
  local revision
  revision=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || cat "$root/revision" 2>/dev/null || echo unknown)
  cat >"$out/summary.json" <<JSON
{
  "machine": {
    "gpu": "$(ask name)", "compute_capability": "$(ask compute_cap)", "memory": "$(ask memory.total)",
    "driver": "$(ask driver_version)", "processor": "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)",
    "processors": $(nproc), "kernel": "$(uname -sr)"
  },
  "revision": "$revision",
  "seconds": $SECONDS,
  "steps": [$rows
  ]
}
JSON
  echo "$out/summary.json: $failures steps failed, $SECONDS s"
}

# ---- building ----------------------------------------------------------------------------------------------------------

build() {
  cmake -S "$root" --preset cuda || return 1
  local name targets=""
  for name in $programs; do targets="$targets $(basename "$name")"; done
  # shellcheck disable=SC2086
  cmake --build "$root/build/cuda" -j "$(nproc)" --target $targets
}

# pack DIR: programs, the shared libraries they need (but not the C library, which belongs to a system), data of tests.
pack() {
  local to=$1 name
  mkdir -p "$to/programs" "$to/libraries" "$to/tools"
  build || return 1
  for name in $programs; do
    strip -o "$to/programs/$(basename "$name")" "$root/build/cuda/$name" || return 1
  done
  ldd "$to"/programs/* | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
    grep -vE '/(libc|libm|libdl|librt|libpthread|ld-linux[^/]*)\.so' | xargs -r cp -Lt "$to/libraries"
  cp "$0" "$to/tools/"
  mkdir -p "$to/tests" && cp -r "$root/tests/golden" "$root/tests/data" "$to/tests/"
  echo "$root" >"$to/source_dir"
  git -C "$root" rev-parse --short HEAD >"$to/revision"
  du -sh "$to"
}

# ---- running -----------------------------------------------------------------------------------------------------------

# Where a program of the list is; the test data of a pack is where its tests look for it.
program() {
  if [ -n "$packed" ]; then echo "$root/programs/$1"; else find "$root/build/cuda" -name "$1" -type f -perm -u+x | head -1; fi
}

prepare_packed() {
  local source_dir
  export LD_LIBRARY_PATH="$root/libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  source_dir=$(cat "$root/source_dir")
  if [ ! -e "$source_dir" ] && ! { mkdir -p "$(dirname "$source_dir")" && ln -s "$root" "$source_dir"; }; then
    echo "the tests look for their data in $source_dir, which cannot be made here: tests that read data will fail"
  fi
}

run_sanitizer() {
  local tests=$1 tool
  if ! command -v compute-sanitizer >/dev/null && [ ! -x /usr/local/cuda/bin/compute-sanitizer ]; then
    record sanitizer skipped 0 "compute-sanitizer is not installed"
    return
  fi
  PATH=$PATH:/usr/local/cuda/bin
  # Big uploads say nothing about kernels and take long under the tools.
  for tool in memcheck racecheck; do
    step "sanitizer_$tool" 150 compute-sanitizer --tool "$tool" --error-exitcode 9 --print-limit 20 "$tests" \
      --gtest_brief=1 --gtest_filter="${QUIRE_SANITIZER_FILTER:-*:-CudaDeviceTest.*Upload*:CudaDeviceTest.TooMuch*}"
  done
}

run_benches() {
  local quire bench
  quire=$(program quire)
  bench=$(program quire_kernels_cuda_bench)
  step bench_kernels 90 "$bench"
  step greedy_text 30 "$quire" run demo --device cuda --prompt "Tell me a story about a fox." --temp 0
  step bench_1b_bf16 60 "$quire" bench --device cuda --shape tinyllama-1.1b --format BF16 --batch 1,8,64 --json
  step bench_1b_bf16_cublaslt 60 "$quire" bench --device cuda --shape tinyllama-1.1b --format BF16 --batch 1,8,64 \
    --no-one-answer --json
  step bench_1b_q4 60 "$quire" bench --device cuda --shape tinyllama-1.1b --format Q4_0 --batch 1,8,64 --json
  step bench_1b_fp8_kv 45 "$quire" bench --device cuda --shape tinyllama-1.1b --format BF16 --batch 64 --depth 1024 \
    --kv-type fp8 --json
  step bench_8b_q4 90 "$quire" bench --device cuda --shape llama-3.1-8b --format Q4_K_M --batch 1,16 --json
}

main() {
  packed=""
  case "${1:-}" in
    --build) build; exit $? ;;  # timeout runs programs, not functions
    --pack) [ $# -eq 2 ] || usage; pack "$2"; exit $? ;;
    --packed) [ $# -eq 2 ] || usage; packed=yes; out=$2 ;;
    -* | "") usage ;;
    *) [ $# -eq 1 ] || usage; out=$1 ;;
  esac
  mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
  if [ -n "$packed" ]; then
    prepare_packed
  elif ! step build 400 "$0" --build; then
    tail -5 "$out/build.log"
    write_summary
    exit 2
  fi
  if [ -z "$(ask name)" ]; then
    record gpu failed 0 "nvidia-smi shows no GPU: nothing was run"
    write_summary
    exit 2
  fi
  local tests
  tests=$(program quire_kernels_cuda_test)
  step kernels 120 "$tests" --gtest_brief=1
  if grep -q 'no CUDA device on this machine' "$out/kernels.log"; then
    record gpu failed 0 "nvidia-smi shows a GPU, but CUDA finds none: greedy_text.log says why"
    step greedy_text 30 "$(program quire)" run demo --device cuda --prompt hello
    write_summary
    exit 2
  fi
  step sampling 60 "$(program quire_cuda_sampling_test)" --gtest_brief=1
  step golden 120 "$(program quire_golden_test)" --gtest_filter='*cuda*'
  step one_answer 120 "$(program quire_one_answer_test)" --gtest_filter='*cuda*'
  run_benches
  run_sanitizer "$tests"
  write_summary
  [ "$failures" -eq 0 ]
}

main "$@"
