#!/bin/sh
# Install the Debian packages that are missing, and nothing when none is.
set -eu
missing=
need_pkg() { pkg-config --exists "$1" 2>/dev/null || missing="$missing $2"; }
need_file() { [ -e "$1" ] || missing="$missing $2"; }

command -v "${CC:-gcc}" >/dev/null 2>&1 || missing="$missing ${CC:-gcc} libc6-dev"
command -v pkg-config >/dev/null 2>&1 || missing="$missing pkg-config"
case "${CC:-gcc}" in *clang*) need_file /usr/lib/llvm-14/lib/libomp.so "libomp-dev" ;; esac
need_pkg hdf5 libhdf5-dev
need_pkg libpng libpng-dev
need_pkg libjpeg libjpeg-dev
need_pkg libwebp libwebp-dev
need_pkg libutf8proc libutf8proc-dev
need_pkg jansson libjansson-dev
need_pkg libzip libzip-dev
need_pkg zlib zlib1g-dev
need_pkg stb libstb-dev
need_pkg cmocka libcmocka-dev
need_pkg librsvg-2.0 librsvg2-dev
need_pkg libmicrohttpd libmicrohttpd-dev
need_file /usr/include/Random123/philox.h librandom123-dev
[ "${ONEDNN:-1}" = 1 ] && need_file /usr/include/dnnl.h libdnnl-dev
[ -z "$missing" ] && exit 0

echo "installing:$missing"
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
if ! command -v apt-get >/dev/null 2>&1; then
    echo "deps: no apt-get here; please install the equivalents of:$missing" >&2
    exit 2
fi
$sudo apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
