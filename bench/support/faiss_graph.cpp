// Approximate indices of Faiss for single queries, as in decoding token by token, beside its exact search: what a query
// costs, what it finds of the true neighbours, and what it costs to add a key, which a memory does as often as it asks.
//   faiss_graph [KEYS [THREADS]]      65536 unit keys of width 64, 32 neighbours, queries near keys
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFFlat.h>
#include <omp.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <set>
#include <vector>

namespace {
constexpr int width = 64, neighbours = 32, queries = 200, extra = 1000;
using ids_t = std::vector<faiss::Index::idx_t>;

double now()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Unit vectors: around `centres` directions, or without any if 0.
std::vector<float> keys_around(long count, int centres, std::mt19937 &random)
{
    std::normal_distribution<float> normal;
    std::vector<float> centre(static_cast<size_t>(centres) * width), all(static_cast<size_t>(count) * width);
    for (float &x : centre) {
        x = normal(random);
    }
    for (long i = 0; i < count; i++) {
        float *row = &all[static_cast<size_t>(i) * width], square = 0;
        const float *around = centres ? &centre[random() % centres * width] : nullptr;
        for (int c = 0; c < width; c++) {
            row[c] = normal(random) * (around ? 0.5f : 1.0f) + (around ? around[c] : 0.0f);
            square += row[c] * row[c];
        }
        for (int c = 0; c < width; c++) {
            row[c] /= std::sqrt(square);
        }
    }
    return all;
}

double search_each(const faiss::Index &index, const std::vector<float> &asked, ids_t &found)
{
    std::vector<float> scores(neighbours);
    found.resize(static_cast<size_t>(queries) * neighbours);
    double start = now();
    for (int q = 0; q < queries; q++) {
        index.search(1, &asked[static_cast<size_t>(q) * width], neighbours, scores.data(),
                     &found[static_cast<size_t>(q) * neighbours]);
    }
    return (now() - start) / queries;
}

double recall(const ids_t &found, const ids_t &truth)
{
    long hits = 0;
    for (int q = 0; q < queries; q++) {
        std::set<faiss::Index::idx_t> wanted(truth.begin() + q * neighbours, truth.begin() + (q + 1) * neighbours);
        for (int i = 0; i < neighbours; i++) {
            hits += static_cast<long>(wanted.count(found[static_cast<size_t>(q * neighbours + i)]));
        }
    }
    return static_cast<double>(hits) / (queries * neighbours);
}

void tell(const char *name, double search, double found, double add)
{
    std::printf("  %-26s query %7.3f ms  recall %.3f  add a key %7.4f ms  both %7.3f ms\n", name, 1e3 * search, found, 1e3 * add,
                1e3 * (search + add));
    std::fflush(stdout);
}

double add_some(faiss::Index &index, const std::vector<float> &keys, long from, long count)
{
    double start = now();
    for (long i = from; i < from + count; i++) {
        index.add(1, &keys[static_cast<size_t>(i) * width]);
    }
    return (now() - start) / static_cast<double>(count);
}

void compare(long count, int centres)
{
    std::mt19937 random(1);
    auto keys = keys_around(count + extra, centres, random);
    std::vector<float> asked;
    std::normal_distribution<float> normal;
    for (int q = 0; q < queries; q++) { // near a key, as a query that remembers is
        const float *row = &keys[random() % static_cast<size_t>(count) * width];
        for (int c = 0; c < width; c++) {
            asked.push_back(row[c] + 0.1f * normal(random));
        }
    }
    std::printf("%ld keys %s\n", count, centres ? "in 1000 clusters" : "in all directions");
    faiss::IndexFlatIP exact(width);
    exact.add(count + extra, keys.data());
    ids_t truth, found;
    tell("faiss exact", search_each(exact, asked, truth), 1, 0);
    for (int links : {16, 32}) {
        faiss::IndexHNSWFlat graph(width, links, faiss::METRIC_INNER_PRODUCT);
        graph.add(count, keys.data());
        double add = add_some(graph, keys, count, extra);
        for (int effort : {64, 256}) {
            char name[64];
            std::snprintf(name, sizeof name, "faiss HNSW %d, effort %d", links, effort);
            graph.hnsw.efSearch = effort;
            double seconds = search_each(graph, asked, found);
            tell(name, seconds, recall(found, truth), add);
        }
    }
    faiss::IndexFlatIP coarse(width);
    faiss::IndexIVFFlat lists(&coarse, width, 256, faiss::METRIC_INNER_PRODUCT);
    lists.train(count, keys.data());
    lists.add(count, keys.data());
    double add = add_some(lists, keys, count, extra);
    for (int probes : {8, 32}) {
        char name[64];
        std::snprintf(name, sizeof name, "faiss IVF 256, %d probes", probes);
        lists.nprobe = static_cast<size_t>(probes);
        double seconds = search_each(lists, asked, found);
        tell(name, seconds, recall(found, truth), add);
    }
}
} // namespace

int main(int count, char **words)
{
    long keys = count > 1 ? std::atol(words[1]) : 65536;
    omp_set_num_threads(count > 2 ? std::atoi(words[2]) : 1);
    compare(keys, 0);
    compare(keys, 1000);
}
