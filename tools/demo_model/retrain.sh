#!/bin/sh
# Makes everything in assets/demo/ again: retrain.sh WORK [MINUTES]. WORK is a folder for intermediate files.
set -eu
work=$1
minutes=${2:-60}
here=$(cd "$(dirname "$0")" && pwd)
assets=$here/../../assets/demo
python=${PYTHON:-python3}

"$python" "$here/prepare.py" "$work"
for name in demo small; do
    file=$assets/quire-demo.gguf
    if [ $name = small ]; then file=$assets/quire-demo-small.gguf; fi
    "$python" "$here/train.py" "$work" $name --minutes "$minutes"
    "$python" "$here/export.py" "$work" $name --hf "$work/hf/$name" --gguf "$file"
done
"$python" "$here/heldout.py" "$work" "$assets/heldout.jsonl"
"$python" "$here/evaluate.py" "$work" demo small "$assets/quire-demo.gguf" "$assets/quire-demo-small.gguf"
