#!/bin/sh
# Trains the small parts of assets/demo, and heads for SmolLM2, in order: train.sh QUIRE SMOLLM2.gguf WORK. WORK is a folder for
# intermediate files.
set -eu
quire=$1
smollm2=$2
work=$3
here=$(cd "$(dirname "$0")" && pwd)
assets=$here/../../assets
demo=$assets/demo/quire-demo.gguf
python=${PYTHON:-python3}

"$python" "$here/texts.py" "$demo" "$work/demo" --prompts demo --quire "$quire"
"$python" "$here/medusa.py" "$demo" "$work/demo" "$assets/demo/medusa"
"$python" "$here/eagle.py" "$demo" "$work/demo" "$assets/demo/eagle"
"$python" "$here/draft_model.py" "$demo" "$assets/demo/quire-demo-small.gguf" "$work/demo"
"$python" "$here/texts.py" "$smollm2" "$work/smollm2" --prompts general --quire "$quire" --per-task 40 --held-out 4
"$python" "$here/medusa.py" "$smollm2" "$work/smollm2" "$assets/smollm2-135m/medusa" --heads 4
"$python" "$here/limited_answers.py" --demo "$work/demo" "$assets/demo/medusa" --doc "$here/../../docs/speculation.md" \
    --plot "$here/../../docs/limited-answers.svg"
