#!/usr/bin/env bash
# bench_topk with Faiss's exact search in the same run, where libfaiss-dev is installed. Part of make bench.
set -euo pipefail
cd "$(dirname "$0")/.."
build="${LH_BUILD:-build}"
if [ ! -e /usr/include/faiss/IndexFlat.h ]; then
    echo "libfaiss-dev is not installed: no comparison"
    exit 0
fi
shim="$build/libfaiss_shim.so"
c++ -O2 -shared -fPIC -fopenmp bench/support/faiss_shim.cpp -o "$shim" -lfaiss -lopenblas
"$build/bench_topk" -f "$shim" "$@"
