#!/usr/bin/env bash
# clang-tidy over the sources of the dev build, or only over the files given. The static analyzer, which doubles the time,
# runs with QUIRE_TIDY_ANALYZER=1.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -f build/dev/compile_commands.json ] || cmake --preset dev >/dev/null
is_built() { grep -q "\"file\": \"$PWD/$1\"" build/dev/compile_commands.json; }
if [ $# -gt 0 ]; then
  files=("$@")
else
  mapfile -t files < <(git ls-files 'src/*.cpp' | grep -v -E '_(test|bench)\.cpp$' |
    while read -r file; do if is_built "$file"; then echo "$file"; fi; done)
fi
checks=()
[ "${QUIRE_TIDY_ANALYZER:-0}" = 1 ] || checks=(--checks='-clang-analyzer-*')
printf '%s\n' "${files[@]}" |
  xargs -P "$(nproc)" -n 1 clang-tidy -p build/dev --quiet --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-shadow "${checks[@]}" \
    2> >(grep -v 'warnings generated' >&2)
