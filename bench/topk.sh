#!/usr/bin/env bash
# bench_topk with Faiss's exact search in the same run, and Faiss's approximate indices for single queries, where
# libfaiss-dev is installed. Part of make bench.
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
graph="$build/faiss_graph"
c++ -O2 -fopenmp bench/support/faiss_graph.cpp -o "$graph" -lfaiss -lopenblas
"$graph" 65536
echo "exact search of the same size here, one thread:"
"$build/bench_topk" -t 1 -n 65536 -q 1 | grep "one query"
