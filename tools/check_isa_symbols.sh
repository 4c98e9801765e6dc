#!/bin/sh
# Usage: check_isa_symbols.sh BUILD_FOLDER
# Fails when an object file that is compiled for one instruction set (quire_isa in src/kernels/CMakeLists.txt) defines a
# symbol that the linker may take in the place of another file's: weak (W, V) or unique (u). Such a function was compiled for an instruction
# set that the machine may lack, and could end up in code that runs everywhere. DW.ref.* are compiler-made pointers to the
# exception personality, the same in every file.
# Fails too when another object of the kernels than those of the table amx contains instructions of AMX.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 BUILD_FOLDER" >&2; exit 2; }

objects=$(find "$1" -path '*quire_kernels_isa_*' -name '*.o')
[ -n "$objects" ] || { echo "no object files of instruction sets under $1: build quire_kernels first" >&2; exit 2; }

failed=0
for object in $objects; do
  shared=$(nm --defined-only --demangle "$object" | grep -E '^[0-9a-f]+ [WVu] ' | grep -v ' DW[.]ref[.]' || true)
  if [ -n "$shared" ]; then
    failed=1
    echo "$object defines symbols that the linker may share:" >&2
    echo "$shared" >&2
  fi
done

others=$(find "$1" -path '*quire_kernels*' -name '*.o' ! -path '*quire_kernels_isa_amx.dir*')
[ -n "$others" ] || { echo "no objects of the kernels in $1" >&2; exit 2; }
for object in $others; do
  code=$(objdump -d --no-show-raw-insn "$object")
  if printf '%s\n' "$code" | grep -qE '[[:space:]](ldtilecfg|tile(load|store|zero|release)|tdp)'; then
    failed=1
    echo "$object contains instructions of AMX" >&2
  fi
done
exit $failed
