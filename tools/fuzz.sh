#!/usr/bin/env bash
# Builds the libFuzzer targets and runs each for the given number of seconds from its committed corpus, one per processor.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -j "$(nproc)" --target quire_fuzzers

# fuzz PROGRAM
fuzz() {
  name=$(basename "$1" _fuzz)
  work=build/fuzz/corpus/$name
  mkdir -p "$work"
  # The tokenizers' fixtures are their seeds as well.
  case $name in
    tokenizer_json | sentencepiece) seeds=tests/data/tokenizers ;;
    *) seeds=tests/fuzz/corpus/$name ;;
  esac
  log=build/fuzz/$name.log
  "$1" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -artifact_prefix="build/fuzz/$name-" \
    -print_final_stats=1 "$work" "$seeds" >"$log" 2>&1 || { tail -60 "$log"; exit 1; }
  echo "fuzz $name: $seconds s, $(grep -E 'number_of_executed_units|peak_rss_mb' "$log" | tr -s ' ' | tr '\n' ' ')"
}
export -f fuzz
export seconds
printf '%s\0' build/fuzz/tests/fuzz/*_fuzz | xargs -0 -P "$(nproc)" -I{} bash -euc 'fuzz {}'
