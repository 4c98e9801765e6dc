#!/usr/bin/env bash
# Makes variants of one original by every method, and the table and the plot of docs/compression.md from them.
#
#   tools/compression_table.sh QUIRE MODEL.gguf TEXT WORK [CHUNKS]
#
# QUIRE: the program. MODEL.gguf: its weights count as the original, whatever their format. TEXT: what quality is measured
# on; methods calibrate on what the model writes itself. WORK: a folder for the variants; those that are complete there
# are not made again. CHUNKS: windows of 512 tokens to score (24). Prints the table; WORK/table.svg is the plot.
set -euo pipefail

quire=$(realpath "$1") model=$(realpath "$2") text=$(realpath "$3") work=$4 chunks=${5:-24}
mkdir -p "$work"
cd "$work"

original=f16
[ -e "$original" ] || "$quire" convert "$model" "$original" >&2
[ -e f16.gguf ] || "$quire" convert "$model" f16.gguf --type f16 >&2

variants=()
make() { # NAME FLAGS...: a directory
  variants+=("$1")
  [ -e "$1" ] || "$quire" compress "$original" -o "$@" >&2
}
make_gguf() { # NAME FLAGS...: a GGUF file
  variants+=("$1.gguf")
  [ -e "$1.gguf" ] || "$quire" compress f16.gguf -o "$1.gguf" --method kquant "${@:2}" >&2
}

make rtn-4 --method rtn --group 64
make rtn-4-clip --method rtn --group 64 --search-clip
make gptq-4 --method gptq --group 64
make awq-4 --method awq --group 64 --asymmetric
make rtn-8 --method rtn --bits 8 --group 64
make fp8 --method fp8
make smoothquant --method smoothquant
make magnitude-50 --method magnitude --sparsity 50%
make wanda-50 --method wanda --sparsity 50%
make sparsegpt-50 --method sparsegpt --sparsity 50%
make sparsegpt-32-64-int8 --method sparsegpt --sparsity 32:64 --bits 8
make structured-80 --method structured --layers 0.8

[ -e f16.imatrix ] ||
  "$quire" compress f16.gguf -o importance.gguf --method kquant --type F16 --imatrix-out f16.imatrix >&2
for type in Q3_K_M Q4_0 IQ4_NL Q4_K_M Q6_K Q8_0; do
  make_gguf "${type,,}" --type "$type"
  make_gguf "${type,,}-imatrix" --type "$type" --imatrix f16.imatrix
done
make_gguf target-90 --target-size 90MiB --imatrix f16.imatrix

"$quire" compress report "${variants[@]}" --against "$original" -f "$text" --chunks "$chunks" --plot table.svg
