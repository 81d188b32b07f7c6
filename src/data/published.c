#include "data/published.h"

#include <stddef.h>
#include <string.h>

static const char pg19_source[] = "Rae et al. 2019, table 2";
static const char wikitext_source[] = "Merity et al. 2016, table 1; line ends counted as tokens";
static const char mahoney_source[] = "90/5/5 split of 10^8 bytes";

static const lh_published table[] = {
    {"pg19", "train", 28602, 1973136207, 0, 11453688452, pg19_source},
    {"pg19", "validation", 50, 3007061, 0, 17402295, pg19_source},
    {"pg19", "test", 100, 6966499, 0, 40482852, pg19_source},
    {"enwik8", "train", 0, 0, 0, 90000000, mahoney_source},
    {"enwik8", "validation", 0, 0, 0, 5000000, mahoney_source},
    {"enwik8", "test", 0, 0, 0, 5000000, mahoney_source},
    {"text8", "train", 0, 0, 0, 90000000, mahoney_source},
    {"text8", "validation", 0, 0, 0, 5000000, mahoney_source},
    {"text8", "test", 0, 0, 0, 5000000, mahoney_source},
    {"wikitext-103", "train", 0, 101425671, 103227021, 0, wikitext_source},
    {"wikitext-103", "validation", 0, 213886, 217646, 0, wikitext_source},
    {"wikitext-103", "test", 0, 241211, 245569, 0, wikitext_source},
    {"wikitext-2", "train", 0, 0, 2088628, 0, wikitext_source},
    {"wikitext-2", "validation", 0, 213886, 217646, 0, wikitext_source},
    {"wikitext-2", "test", 0, 241211, 245569, 0, wikitext_source},
};

const lh_published *lh_published_find(const char *benchmark, const char *split)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].benchmark, benchmark) == 0 && strcmp(table[i].split, split) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

bool lh_published_is_full(const lh_published *published, uint64_t documents, const lh_text_totals *totals,
                          uint64_t word_tokens)
{
    if (strcmp(published->benchmark, "pg19") == 0) {
        /* The published bytes are of text and metadata, about 100 bytes a book: compare with the middle of what the
         * text alone can have. */
        uint64_t expected = published->bytes - 100 * published->documents;
        uint64_t distance = totals->bytes > expected ? totals->bytes - expected : expected - totals->bytes;
        return documents == published->documents && distance <= published->bytes / 1000;
    }
    return (published->bytes == 0 || totals->bytes == published->bytes) &&
           (published->words == 0 || totals->words == published->words) &&
           (published->tokens == 0 || word_tokens == 0 || word_tokens == published->tokens);
}
