#include "data/split.h"

#include "base/memory.h"

#include <string.h>

/* The last part that begins at or before the token; parts without tokens lie before the one that has it. */
static const lh_split_part *part_of_token(const lh_split *split, uint64_t token)
{
    size_t low = 0, high = split->part_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (split->parts[middle].first_token <= token) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &split->parts[low];
}

static const lh_split_part *part_of_document(const lh_split *split, uint64_t document)
{
    size_t low = 0, high = split->part_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (split->parts[middle].first_document <= document) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &split->parts[low];
}

lh_document lh_split_document(const lh_split *split, uint64_t index)
{
    const lh_split_part *part = part_of_document(split, index);
    const lh_shard_document *record = &part->documents[index - part->first_document];
    const char *name = part->names ? part->names + record->name_offset : "";
    return (lh_document){
        .start = part->first_token + record->start,
        .tokens = record->tokens,
        .totals = record->totals,
        .name = name,
        .name_size = record->name_size,
        .label = name + record->name_size,
        .label_size = record->label_size,
    };
}

uint64_t lh_split_find(const lh_split *split, uint64_t token)
{
    const lh_split_part *part = part_of_token(split, token);
    uint64_t local = token - part->first_token;
    uint64_t low = 0, high = part->document_count;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (part->documents[middle].start <= local) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return part->first_document + low;
}

/* Widens `count` tokens of one part and returns the greatest. */
static uint32_t widen(const lh_split_part *part, uint64_t local, size_t count, int32_t *out)
{
    uint32_t greatest = 0;
    switch (part->width) {
    case 1: {
        const uint8_t *from = (const uint8_t *)part->tokens + local;
        for (size_t i = 0; i < count; i++) {
            out[i] = from[i];
            greatest = from[i] > greatest ? from[i] : greatest;
        }
        return greatest;
    }
    case 2: {
        const uint16_t *from = (const uint16_t *)part->tokens + local;
        for (size_t i = 0; i < count; i++) {
            out[i] = from[i];
            greatest = from[i] > greatest ? from[i] : greatest;
        }
        return greatest;
    }
    default: {
        const uint32_t *from = (const uint32_t *)part->tokens + local;
        for (size_t i = 0; i < count; i++) {
            out[i] = (int32_t)from[i];
            greatest = from[i] > greatest ? from[i] : greatest;
        }
        return greatest;
    }
    }
}

lh_status lh_split_copy(const lh_split *split, uint64_t start, uint64_t count, int32_t *out, lh_error *error)
{
    if (start > split->tokens || count > split->tokens - start) {
        return lh_fail(error, LH_E_ARGUMENT, "tokens %llu to %llu are not all in the split %s, which has %llu",
                       (unsigned long long)start, (unsigned long long)(start + count), split->name,
                       (unsigned long long)split->tokens);
    }
    const lh_split_part *part = count > 0 ? part_of_token(split, start) : NULL;
    while (count > 0) {
        uint64_t local = start - part->first_token;
        uint64_t run = part->token_count - local;
        run = run < count ? run : count;
        uint32_t greatest = run > 0 ? widen(part, local, (size_t)run, out) : 0;
        if (greatest >= split->vocab_size) {
            return lh_fail(error, LH_E_FORMAT,
                           "%s is damaged: it holds the token %u near token %llu, its vocabulary has %llu",
                           part->path, greatest, (unsigned long long)local, (unsigned long long)split->vocab_size);
        }
        out += run;
        start += run;
        count -= run;
        part++;
    }
    return LH_OK;
}

void lh_split_copy_answers(const lh_split *split, uint64_t start, uint64_t count, uint32_t *out)
{
    const lh_split_part *part = count > 0 && split->answered ? part_of_token(split, start) : NULL;
    if (!part) {
        memset(out, 0, (size_t)count * sizeof *out);
        return;
    }
    while (count > 0) {
        uint64_t local = start - part->first_token;
        uint64_t run = part->token_count - local < count ? part->token_count - local : count;
        if (run > 0) {
            memcpy(out, part->answers + local, (size_t)run * sizeof *out);
        }
        out += run;
        start += run;
        count -= run;
        part++;
    }
}

/* ---- shards ---- */

static lh_status check_agreement(const lh_split *split, const lh_shard *shard, lh_error *error)
{
    const lh_shard_header *header = &shard->header;
    if (header->vocab_size != split->vocab_size || header->fingerprint != split->fingerprint) {
        return lh_fail(error, LH_E_FORMAT, "%s was made with another tokenizer than %s", shard->path,
                       split->shards[0].path);
    }
    if ((shard->answers != NULL) != split->answered) {
        return lh_fail(error, LH_E_FORMAT, "of %s and %s only one says which tokens are answers", shard->path,
                       split->shards[0].path);
    }
    if (header->document_count > INT32_MAX - split->documents ||
        header->token_count > (uint64_t)INT64_MAX / 4 - split->tokens) {
        return lh_fail(error, LH_E_UNSUPPORTED,
                       "%s brings the split %s to more documents or tokens than are supported", shard->path,
                       split->name);
    }
    return LH_OK;
}

static lh_status add_shard(lh_split *split, size_t index, lh_error *error)
{
    const lh_shard *shard = &split->shards[index];
    const lh_shard_header *header = &shard->header;
    if (index == 0) {
        split->vocab_size = header->vocab_size;
        split->fingerprint = header->fingerprint;
        split->answered = shard->answers != NULL;
    }
    LH_TRY(check_agreement(split, shard, error));
    split->parts[index] = (lh_split_part){
        .first_token = split->tokens,
        .token_count = header->token_count,
        .first_document = split->documents,
        .document_count = header->document_count,
        .tokens = shard->tokens,
        .width = header->token_width,
        .documents = shard->documents,
        .answers = shard->answers,
        .names = shard->names,
        .path = shard->path,
    };
    split->tokens += header->token_count;
    split->documents += header->document_count;
    split->answers += shard->answers ? header->answer_count : 0;
    lh_text_totals_add(&split->totals, &header->totals);
    return LH_OK;
}

static lh_status open_all(lh_split *split, const char *const *paths, size_t count, lh_error *error)
{
    size_t part_bytes, shard_bytes;
    if (lh_size_multiply(count, sizeof *split->parts, &part_bytes) ||
        lh_size_multiply(count, sizeof *split->shards, &shard_bytes)) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %zu shards", count);
    }
    split->parts = lh_heap_alloc(part_bytes);
    split->shards = lh_heap_alloc(shard_bytes);
    if (!split->parts || !split->shards) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %zu shards", count);
    }
    for (size_t i = 0; i < count; i++) {
        LH_TRY(lh_shard_open(&split->shards[i], paths[i], error));
        split->part_count = i + 1;
        LH_TRY(add_shard(split, i, error));
    }
    return LH_OK;
}

lh_status lh_split_open(lh_split *split, const char *name, const char *const *paths, size_t count, lh_error *error)
{
    *split = (lh_split){0};
    (void)snprintf(split->name, sizeof split->name, "%s", name);
    lh_status status = open_all(split, paths, count, error);
    if (status != LH_OK) {
        lh_split_close(split);
    }
    return status;
}

void lh_split_close(lh_split *split)
{
    for (size_t i = 0; split->shards && i < split->part_count; i++) {
        lh_shard_close(&split->shards[i]);
    }
    lh_heap_free(split->shards);
    lh_heap_free(split->parts);
    lh_heap_free(split->memory);
    lh_heap_free(split->answer_memory);
    *split = (lh_split){0};
}

/* ---- memory ---- */

static lh_status fill_memory(lh_split *split, const int32_t *tokens, const uint64_t *lengths, uint64_t documents,
                             lh_error *error)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < documents; i++) {
        if (lengths[i] > (uint64_t)INT64_MAX / 8 - total) {
            return lh_fail(error, LH_E_ARGUMENT, "the lengths of the documents add up to too many tokens");
        }
        total += lengths[i];
    }
    size_t table_bytes, token_bytes;
    if (documents > INT32_MAX || lh_size_multiply((size_t)documents, sizeof(lh_shard_document), &table_bytes) ||
        lh_size_multiply((size_t)total, sizeof(int32_t), &token_bytes) || token_bytes > SIZE_MAX - table_bytes) {
        return lh_fail(error, LH_E_ARGUMENT, "%llu documents of %llu tokens do not fit into memory",
                       (unsigned long long)documents, (unsigned long long)total);
    }
    for (uint64_t i = 0; i < total; i++) {
        if (tokens[i] < 0 || (uint64_t)tokens[i] >= split->vocab_size) {
            return lh_fail(error, LH_E_ARGUMENT, "token %llu is %d, the vocabulary has %llu", (unsigned long long)i,
                           tokens[i], (unsigned long long)split->vocab_size);
        }
    }
    lh_shard_document *table = split->memory = lh_heap_alloc(table_bytes + token_bytes);
    split->parts = lh_heap_alloc(sizeof *split->parts);
    if (!table || !split->parts) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %llu tokens", (unsigned long long)total);
    }
    uint64_t start = 0;
    for (uint64_t i = 0; i < documents; i++) {
        table[i] = (lh_shard_document){.start = start, .tokens = lengths[i]};
        start += lengths[i];
    }
    void *copy = table + documents;
    if (token_bytes > 0) {
        memcpy(copy, tokens, token_bytes);
    }
    split->parts[0] = (lh_split_part){
        .token_count = total,
        .document_count = documents,
        .tokens = copy,
        .width = 4,
        .documents = table,
        .path = "a split in memory",
    };
    split->part_count = 1;
    split->tokens = total;
    split->documents = documents;
    return LH_OK;
}

lh_status lh_split_create(lh_split **split, const int32_t *tokens, const uint64_t *lengths, uint64_t documents,
                          uint64_t vocab_size, lh_error *error)
{
    *split = NULL;
    lh_split *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a split");
    }
    (void)snprintf(fresh->name, sizeof fresh->name, "memory");
    fresh->vocab_size = vocab_size;
    lh_status status = fill_memory(fresh, tokens, lengths, documents, error);
    if (status != LH_OK) {
        lh_split_free(fresh);
        return status;
    }
    *split = fresh;
    return LH_OK;
}

lh_status lh_split_set_answers(lh_split *split, const uint32_t *answers, lh_error *error)
{
    size_t bytes = (size_t)split->tokens * sizeof *answers; /* no more than its tokens have */
    uint32_t *copy = lh_heap_alloc(bytes > 0 ? bytes : 1);
    if (!copy) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the answers of %llu tokens",
                       (unsigned long long)split->tokens);
    }
    lh_heap_free(split->answer_memory);
    split->answer_memory = copy;
    split->parts[0].answers = copy;
    split->answered = true;
    split->answers = 0;
    for (uint64_t i = 0; i < split->tokens; i++) {
        copy[i] = answers[i];
        split->answers += answers[i] != 0;
    }
    return LH_OK;
}

void lh_split_free(lh_split *split)
{
    if (split) {
        lh_split_close(split);
        lh_heap_free(split);
    }
}

uint64_t lh_split_source(const lh_split *split, uint64_t document)
{
    lh_document d = lh_split_document(split, document);
    uint32_t answers[512];
    for (uint64_t at = 0; at < d.tokens && split->answered;) {
        uint64_t part = d.tokens - at < 512 ? d.tokens - at : 512;
        lh_split_copy_answers(split, d.start + at, part, answers);
        for (uint64_t i = 0; i < part; i++, at++) {
            if (answers[i] != 0) {
                return at;
            }
        }
    }
    return 0;
}
