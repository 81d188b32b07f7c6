#!/bin/sh
# Installs the Debian packages that are missing. Silent when nothing is.
#   scripts/install-deps.sh [build] [test] [lint] [demo]      groups; default: build
#   LH_SKIP_DEPS=1 leaves the system as it is.
set -eu

build="gcc make cmake ninja-build pkg-config libopenblas-openmp-dev libdnnl-dev libjansson-dev libinih-dev
    libpcre2-dev libutf8proc-dev libzstd-dev zlib1g-dev liblzma-dev libcurl4-openssl-dev libcmocka-dev"
test="python3 python3-numpy python3-torch"
lint="git clang clang-tidy clang-format cppcheck libclang-rt-14-dev libomp-dev llvm"
demo="gnuplot-nox bible-kjv"

wanted=
for group in "${@:-build}"; do
    case $group in
    build) wanted="$wanted $build" ;;
    test) wanted="$wanted $test" ;;
    lint) wanted="$wanted $lint" ;;
    demo) wanted="$wanted $demo" ;;
    *)
        echo "install-deps.sh: unknown group \"$group\"; the groups are build, test, lint and demo" >&2
        exit 2
        ;;
    esac
done
[ "${LH_SKIP_DEPS:-0}" != 1 ] || exit 0

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "install-deps.sh: this is no Debian system, so nothing is installed; these Debian packages (or what your" >&2
    echo "system calls them) are needed:" $wanted >&2
    exit 0
fi

# ${db:Status-Status} of a package that was never seen is an error message on stderr and no line on stdout.
installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
    sed -n 's/^installed //p' || true)
missing=
for package in $wanted; do
    case "
$installed
" in
    *"
$package
"*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "install-deps.sh: apt-get is not there; please install these packages by hand:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "install-deps.sh: neither root nor sudo; please run as root: apt-get install$missing" >&2
        exit 1
    fi
    as_root=sudo
    [ -t 0 ] || as_root="sudo -n"
fi

echo "Installing missing packages:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 </dev/null
}

# With the package lists that are there first; a fresh machine has none, an old one has stale ones.
if ! apt install --no-install-recommends $missing; then
    if ! apt update; then
        cat "$log" >&2
        echo "install-deps.sh: apt-get update failed (see above)" >&2
        exit 1
    fi
    if ! apt install --no-install-recommends $missing; then
        cat "$log" >&2
        echo "install-deps.sh: apt-get could not install:$missing (see above)" >&2
        exit 1
    fi
fi
