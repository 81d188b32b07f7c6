#!/bin/sh
# Configures and builds one preset: scripts/build.sh release [ninja target ...]
#   LH_CMAKE_ARGS   further arguments of cmake, such as -DLH_WERROR=ON
#   LH_JOBS         how many compilers run at once (default: one per core)
set -eu
cd "$(dirname "$0")/.."
preset=$1
shift
case $preset in
release) folder=build ;;
*) folder=build-$preset ;;
esac

# Configuring again is cheap but not free, and needed only if the presets or the arguments changed.
stamp=$folder/.configured
want="$(cksum <CMakePresets.json) ${LH_CMAKE_ARGS:-}"
if [ ! -f "$folder/build.ninja" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
    mkdir -p "$folder"
    if ! cmake --preset "$preset" ${LH_CMAKE_ARGS:-} >"$folder/configure.log" 2>&1; then
        cat "$folder/configure.log" >&2
        exit 1
    fi
    printf '%s\n' "$want" >"$stamp"
fi

# A build that has nothing to say stays silent; on a failure the whole log is shown.
if [ -t 1 ]; then
    exec ninja -C "$folder" -j "${LH_JOBS:-$(nproc)}" "$@"
fi
if ! ninja -C "$folder" -j "${LH_JOBS:-$(nproc)}" "$@" >"$folder/build.log" 2>&1; then
    cat "$folder/build.log" >&2
    exit 1
fi
# Warnings of a build that went well are worth reading, too.
grep -A5 ' warning: ' "$folder/build.log" || true
