#!/bin/sh
# fetch.sh CACHE [SOURCES.TSV [--no-photos]]: fetch and unpack the pinned packages that are not in CACHE yet.
# Each becomes CACHE/ID-VERSION/; running it again does nothing. One line on stderr and status 1 when something fails.
set -eu
fail() {
    echo "fetch: $*" >&2
    exit 1
}

[ $# -ge 1 ] || fail "usage: fetch.sh CACHE [SOURCES.TSV [--no-photos]]"
sources=${2:-$(dirname "$0")/sources.tsv}
[ -r "$sources" ] || fail "$sources: cannot be read"
sources=$(cd "$(dirname "$sources")" && pwd)/$(basename "$sources")
mkdir -p "$1" || fail "$1: cannot be made"
cd "$1"
tab=$(printf '\t')
work=.fetch.$$
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

need_npm() {
    command -v npm >/dev/null 2>&1 && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "fetch: installing npm" >&2
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends npm; } >/dev/null 2>&1
    fi
    command -v npm >/dev/null 2>&1 || fail "npm is needed to fetch the packages; install it (apt-get install npm)"
}

sum_of() {
    sha256sum "$1" | cut -d' ' -f1
}

# fetch_one ID PACKAGE VERSION SHA256
fetch_one() {
    target=$1-$3
    [ -d "$target" ] && return 0
    archive=$(printf '%s' "${2#@}" | tr / -)-$3.tgz
    if [ ! -f "$archive" ] || [ "$(sum_of "$archive")" != "$4" ]; then
        need_npm
        echo "fetch: $2 $3" >&2
        rm -rf "$work" && mkdir "$work"
        (cd "$work" && npm pack --silent --ignore-scripts "$2@$3" </dev/null >/dev/null) || fail "npm pack $2@$3 failed"
        found=$(sum_of "$work/$archive") || fail "npm pack $2@$3 left no $archive"
        [ "$found" = "$4" ] || fail "$2@$3: sha256 is $found, expected $4"
        mv -f "$work/$archive" "$archive"
    fi
    rm -rf "$work" && mkdir "$work"
    tar -xzf "$archive" -C "$work" --no-same-owner || fail "$archive: cannot be unpacked"
    mv "$work/package" "$target" || fail "$archive: holds no folder 'package'"
}

# fetch_deb ID PACKAGE VERSION SHA256: a Debian package, of this machine's architecture
fetch_deb() {
    target=$1-$3
    [ -d "$target" ] && return 0
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 ||
        fail "apt-get and dpkg-deb are needed to fetch the photos of $2; build without them (--no-photos)"
    archive=$2-$3.deb
    if [ ! -f "$archive" ] || [ "$(sum_of "$archive")" != "$4" ]; then
        echo "fetch: $2 $3" >&2
        rm -rf "$work" && mkdir "$work"
        (cd "$work" && { apt-get download -qq "$2=$3" || { apt-get update -qq && apt-get download -qq "$2=$3"; }; }) \
            </dev/null >/dev/null 2>&1 || fail "apt-get download $2=$3 failed (the photos are optional: --no-photos)"
        found=$(sum_of "$work"/*.deb)
        [ "$found" = "$4" ] || fail "$2=$3: sha256 is $found, expected $4"
        mv -f "$work"/*.deb "$archive"
    fi
    rm -rf "$work" && mkdir "$work"
    dpkg-deb -x "$archive" "$work" || fail "$archive: cannot be unpacked"
    mv "$work" "$target"
}

while IFS=$tab read -r id _style package version sha kind _rest; do
    case $id in '#'* | '') continue ;; esac
    case $kind in photo-*) [ "${3:-}" = --no-photos ] && continue ;; esac
    case $kind in
    photo-deb) fetch_deb "$id" "$package" "$version" "$sha" ;;
    *) fetch_one "$id" "$package" "$version" "$sha" ;;
    esac
done <"$sources"
