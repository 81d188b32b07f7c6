// Exact inner-product search by Faiss, for comparison only: bench/topk.sh builds it where libfaiss-dev is installed.
#include <faiss/IndexFlat.h>
#include <faiss/utils/distances.h>
#include <omp.h>

#include <vector>

extern "C" {

void *lh_faiss_create(int width, long rows, const float *keys)
{
    auto *index = new faiss::IndexFlatIP(width);
    index->add(rows, keys);
    return index;
}

void lh_faiss_free(void *index)
{
    delete static_cast<faiss::IndexFlatIP *>(index);
}

/* ids and scores: [count, k] */
void lh_faiss_search(void *index, int threads, long count, const float *queries, long k, float *scores, long *ids)
{
    static_assert(sizeof(long) == sizeof(faiss::Index::idx_t), "ids are 64-bit");
    omp_set_num_threads(threads);
    static_cast<faiss::IndexFlatIP *>(index)->search(count, queries, k, scores, reinterpret_cast<faiss::Index::idx_t *>(ids));
}
}
