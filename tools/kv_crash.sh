#!/usr/bin/env bash
# Kills a process that writes to a KV disk at random moments, 1,000 times or as often as said, and reads after each what
# it has left: a block may be missing, a wrong one is an error.
#   tools/kv_crash.sh [TIMES]
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset release >/dev/null
cmake --build --preset release --target quire_kvstore_test
QUIRE_KV_KILLS=${1:-1000} build/release/src/kvstore/quire_kvstore_test --gtest_filter='FileStore.KilledAtAnyMoment'
