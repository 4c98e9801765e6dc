#!/bin/sh
# Installs the missing Debian 12 packages of a target; does nothing, and needs no root, when there are none.
#   tools/install_dependencies.sh build   what building and running need
#   tools/install_dependencies.sh test    the same and what tests and checks need
set -eu

build="g++ make cmake ninja-build ccache pkg-config libboost1.81-dev libboost-json1.81-dev libfmt-dev libspdlog-dev
libssl-dev libpcre2-dev libutf8proc-dev libedit-dev libsqlite3-dev liburing-dev libhiredis-dev zlib1g-dev"
test="libgtest-dev libbenchmark-dev clang clang-format clang-tidy lld libclang-rt-14-dev python3 binutils tmux
qemu-user chromium zsh fish redis-server"

case "${1:-build}" in
  build) wanted=$build ;;
  test) wanted="$build $test" ;;
  *) echo "usage: $0 build|test" >&2; exit 2 ;;
esac

missing=""
for package in $wanted; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "Installing the Debian packages that are missing:$missing"
if [ "$(id -u)" = 0 ]; then
  as_root=""
elif command -v sudo >/dev/null; then
  as_root="sudo"
else
  echo "This needs root: run as root, install sudo, or run 'apt-get install$missing' yourself." >&2
  exit 1
fi
$as_root apt-get update -q
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q --no-install-recommends $missing
