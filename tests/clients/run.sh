#!/usr/bin/env bash
# Published clients against `quire serve demo`: their requests are answered as they expect.
#   tests/clients/run.sh [folder of the virtual environment] [quire]
# Installs the clients from PyPI; the server listens on 127.0.0.1 on a free port and must end with 0 on SIGTERM.
set -euo pipefail
cd "$(dirname "$0")/../.."
environment=$(realpath -m "${1:-build/clients-venv}")
quire=$(realpath "${2:-build/release/bin/quire}")
here=$PWD/tests/clients
table=$(mktemp)
server=
trap '[ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true; rm -f "$table"' EXIT

[ -x "$environment/bin/python" ] || python3 -m venv "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
python=$environment/bin/python
load_tool=$environment-load
if [ ! -x "$load_tool/bin/aiperf" ]; then  # separate environment: its dependencies conflict with the others
  python3 -m venv "$load_tool"
  "$load_tool/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements_load.txt"
fi
frameworks=$environment-frameworks
if [ ! -f "$frameworks/complete" ]; then
  python3 -m venv "$frameworks"
  "$frameworks/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements_frameworks.txt"
  touch "$frameworks/complete"
fi

start() {  # options of serve; sets url
  "$quire" serve demo --port 0 "$@" >"$table" &
  server=$!
  for _ in $(seq 200); do
    grep -q '^API key' "$table" && break
    kill -0 "$server" || { echo "the server has ended while it started" >&2; exit 1; }
    sleep 0.05
  done
  url=$(awk '$1 == "listening" {print $2; exit}' "$table")
}

stop() {
  kill -TERM "$server"
  local code=0
  wait "$server" || code=$?
  server=
  [ "$code" = 0 ] || { echo "the server ended with $code on SIGTERM, expected 0" >&2; exit 1; }
}

start
"$python" "$here/check_openai.py" "$url"
"$python" "$here/check_responses.py" "$url"
"$python" "$here/check_anthropic.py" "$url"
"$python" "$here/check_agents.py" "$url"
"$python" "$here/check_formats.py" "$url"
"$python" "$here/check_lm_eval.py" "$url"
"$load_tool/bin/python" "$here/check_load.py" "$url"
"$frameworks/bin/python" "$here/check_frameworks.py" "$url"
stop
start --api-key test-key --max-num-queued-reqs 1 --sequences 1
"$python" "$here/check_openai_refusals.py" "$url" test-key
stop
echo "clients: all is well"
