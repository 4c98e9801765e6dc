#!/usr/bin/env bash
# The web page in headless Chromium, against a server on the embedded demo model.
#   tools/test_web_page.sh [QUIRE]
set -euo pipefail
cd "$(dirname "$0")/.."
quire=${1:-build/release/bin/quire}
log=$(mktemp)
"$quire" serve demo --port 0 >"$log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -f "$log"' EXIT
for _ in $(seq 100); do
  url=$(sed -n 's/^listening *\(http[^ ]*\)$/\1/p' "$log")
  [ -n "$url" ] && break
  kill -0 "$server" 2>/dev/null || { cat "$log" >&2; exit 1; }
  sleep 0.1
done
tests/web/web_test.py "$url/"
kill -TERM "$server"
wait "$server"
