#!/bin/sh
# Usage: check_headers.sh [COMPILER]
# Fails when a header of the vector kernels or of those on tiles does not compile alone: each includes what it needs, so
# that editors can open it. Every header is parsed for every instruction set, with the flags of
# src/kernels/CMakeLists.txt. x86 only.
set -eu
compiler=${1:-c++}
cd "$(dirname "$0")/../src"

# field NAME KEYWORD: what follows the keyword in the quire_isa line of NAME.
field() { sed -n "s/^ *quire_isa($1 .*$2 \([^)]*\))/\1/p" kernels/CMakeLists.txt; }
base_of() { sed -n "s/^ *quire_isa($1 BASE \([a-z0-9_]*\) .*/\1/p" kernels/CMakeLists.txt; }

isas=$(sed -n 's/^ *quire_isa(\([a-z0-9_]*\) .*/\1/p' kernels/CMakeLists.txt)
[ -n "$isas" ] || { echo "no quire_isa in src/kernels/CMakeLists.txt" >&2; exit 2; }

# Nothing here calls what a header offers: unused functions are no fault.
for isa in $isas; do
  base=$(base_of "$isa")
  folder=vector
  [ ! -f "kernels/$isa/isa/tiles.h" ] || folder=tiles
  options="$(field "$isa" FLAGS) -Ikernels/$isa"
  [ -z "$base" ] || options="$(field "$base" FLAGS) $options -Ikernels/$base -DQUIRE_BASE=$base"
  for header in kernels/"$folder"/*.h kernels/"$isa"/isa/*.h; do
    echo "$options -DQUIRE_TABLE=$isa -include $header"
  done
done | xargs -P "$(nproc)" -L 1 "$compiler" -std=c++20 -fsyntax-only -Wall -Wextra -Werror -Wno-unused-function -I. -x c++ /dev/null
echo "headers: each of the kernels of an instruction set compiles alone"
