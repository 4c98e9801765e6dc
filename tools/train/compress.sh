#!/bin/sh
# Trains the compressed models of docs/training.md from the demo model and measures them: compress.sh QUIRE WORK. WORK is
# a folder for intermediate files.
set -eu
quire=$1
work=$2
here=$(cd "$(dirname "$0")" && pwd)
assets=$here/../../assets/demo
doc=$here/../../docs/training.md
python=${PYTHON:-python3}
mkdir -p "$work"

compress() {  # MODEL OUT BITS METHOD
    layout=gptq
    if [ "$4" = rtn ] && [ "$3" = 4 ]; then layout=compressed-tensors; fi
    "$quire" compress "$1" -o "$2" --force --method "$4" --bits "$3" --group 32 --layout $layout --threads 1
}
score() {  # TABLE NAME=MODEL ...
    table=$1
    shift
    "$python" "$here/score.py" "$work/original" "$@" --quire "$quire" --doc "$doc" --table "$table"
}

"$quire" convert "$assets/quire-demo.gguf" "$work/original" --force
"$python" "$here/check_grids.py" "$work/original" --quire "$quire"
"$python" "$here/documents.py" "$work/original" "$work"

# Codes of few bits: rounded, calibrated, trained.
for bits in 4 3; do
    compress "$work/original" "$work/rtn$bits" $bits rtn
    compress "$work/original" "$work/gptq$bits" $bits gptq
done
"$python" "$here/qat.py" "$work/original" "$work" "$work/begun3" --bits 3 --tokens 150000
"$python" "$here/qat.py" "$work/begun3" "$work" "$work/trained3" --teacher "$work/original" --bits 3 --seed 2
"$python" "$here/qat.py" "$work/original" "$work" "$work/begun4" --bits 4 --peak 5e-5
"$python" "$here/qat.py" "$work/begun4" "$work" "$work/trained4" --teacher "$work/original" --bits 4 --peak 5e-5 --seed 2
for bits in 4 3; do
    compress "$work/trained$bits" "$work/qat$bits" $bits rtn
done
score "trained codes" "original, F16=$work/original" \
    "int4, rounded=$work/rtn4" "int4, GPTQ=$work/gptq4" "int4, trained=$work/qat4" \
    "int3, rounded=$work/rtn3" "int3, GPTQ=$work/gptq3" "int3, trained=$work/qat3"

# Students of 3 layers and 256 channels: what they begin as, and what they learn from.
student() {  # NAME FLAGS OF student.py FLAGS OF distill.py
    name=$1
    "$python" "$here/student.py" "$work/original" "$work/begun-$name" --channels 256 --text "$work" $2
    "$python" "$here/distill.py" "$work/original" "$work/begun-$name" "$work" "$work/$name" $3
}
student alone "--layers every-second --random" "--labels 1"
student random "--layers every-second --random" ""
student second "--layers every-second" ""
student influence "--layers 3" ""
compress "$work/second" "$work/student-gptq" 4 gptq
"$python" "$here/qat.py" "$work/second" "$work" "$work/trained-student" --teacher "$work/original" --bits 4 \
    --peak 1e-3 --tokens 80000
compress "$work/trained-student" "$work/student-int4" 4 rtn
score students "original, F16=$work/original" "random weights, labels alone=$work/alone" \
    "random weights, distilled=$work/random" "every second layer, as cut=$work/begun-second" \
    "every second layer, distilled=$work/second" "layers by influence, distilled=$work/influence" \
    "every second layer, distilled, int4, GPTQ=$work/student-gptq" \
    "every second layer, distilled, int4, trained=$work/student-int4"

# The students as draft models of their teacher.
"$python" "$here/texts.py" "$assets/quire-demo.gguf" "$work/own" --prompts demo --per-task 1 --quire "$quire"
for draft in alone random second; do
    "$python" "$here/draft_model.py" "$assets/quire-demo.gguf" "$work/$draft" "$work/own"
done
