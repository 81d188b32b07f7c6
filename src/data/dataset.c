#include "data/dataset.h"

#include "base/file.h"
#include "base/memory.h"
#include "formats/json_util.h"

#include <inttypes.h>
#include <string.h>

#define DATASET_JSON_LIMIT ((size_t)64 << 20)
#define DATASET_VERSION 1

char *lh_dataset_shard_name(char name[LH_SHARD_NAME_SIZE], int split, uint32_t index)
{
    (void)snprintf(name, LH_SHARD_NAME_SIZE, "%s-%05u.lhs", lh_split_name(split), index);
    return name;
}

static char *json_path(const char *folder, lh_error *error)
{
    char *path = lh_path_join(folder, LH_DATASET_FILE);
    if (!path) {
        (void)lh_fail(error, LH_E_MEMORY, "no memory to open %s", folder);
    }
    return path;
}

/* ---- writing ---- */

static void add_totals(lh_string *out, const char *indent, uint64_t documents, uint64_t tokens,
                       const lh_text_totals *totals)
{
    lh_string_print(out, "%s\"documents\": %" PRIu64 ",\n%s\"tokens\": %" PRIu64 ",\n", indent, documents, indent,
                    tokens);
    lh_string_print(out, "%s\"words\": %" PRIu64 ",\n%s\"bytes\": %" PRIu64 ",\n", indent, totals->words, indent,
                    totals->bytes);
    lh_string_print(out, "%s\"characters\": %" PRIu64 ",\n%s\"invalid_bytes\": %" PRIu64 ",\n", indent,
                    totals->characters, indent, totals->invalid);
}

static lh_status add_split(lh_string *out, const char *folder, int split, uint32_t count, lh_error *error)
{
    lh_string shards = {0};
    uint64_t documents = 0, tokens = 0, answers = 0;
    bool answered = false;
    lh_text_totals totals = {0};
    lh_status status = LH_OK;
    for (uint32_t i = 0; status == LH_OK && i < count; i++) {
        char name[LH_SHARD_NAME_SIZE];
        char *path = lh_path_join(folder, lh_dataset_shard_name(name, split, i));
        lh_shard shard = {0};
        status =
            path ? lh_shard_open(&shard, path, error) : lh_fail(error, LH_E_MEMORY, "no memory to open %s", name);
        if (status == LH_OK) {
            documents += shard.header.document_count;
            tokens += shard.header.token_count;
            answered = shard.answers != NULL;
            answers += answered ? shard.header.answer_count : 0;
            lh_text_totals_add(&totals, &shard.header.totals);
            lh_string_print(&shards,
                            "%s        {\"file\": \"%s\", \"documents\": %" PRIu64 ", \"tokens\": %" PRIu64
                            ", \"checksum\": \"%016" PRIx64 "\"}",
                            i ? ",\n" : "", name, shard.header.document_count, shard.header.token_count,
                            shard.header.header_checksum);
        }
        lh_shard_close(&shard);
        lh_heap_free(path);
    }
    lh_string_print(out, "    \"%s\": {\n", lh_split_name(split));
    add_totals(out, "      ", documents, tokens, &totals);
    if (answered) {
        lh_string_print(out, "      \"answers\": %" PRIu64 ",\n", answers);
    }
    lh_string_print(out, "      \"shards\": [\n%s\n      ]\n    }", shards.data ? shards.data : "");
    out->failed = out->failed || shards.failed;
    lh_string_free(&shards);
    return status;
}

static void add_facts(lh_string *out, const char *source, const lh_dataset_facts *facts)
{
    lh_string_print(out,
                    "{\n  \"format\": \"longhand data set\",\n  \"version\": %d,\n  \"source\": ", DATASET_VERSION);
    lh_json_append_string(out, source, strlen(source));
    lh_string_print(out, ",\n  \"layout\": \"%s\",\n  \"split\": \"%s\",\n", facts->layout, facts->rule);
    lh_string_print(out, "  \"line_feeds\": \"%s\",\n  \"document_end\": \"%s\",\n",
                    facts->line_feeds_dropped ? "dropped" : "kept", facts->documents_ended ? "token" : "none");
    lh_string_print(out, "  \"empty_documents\": %" PRIu64 ",\n  \"identity\": \"%016" PRIx64 "\",\n",
                    facts->empty_documents, facts->identity);
    if (*facts->task) {
        char chance[LH_JSON_REAL_SIZE];
        lh_string_print(out,
                        "  \"task\": {\n    \"name\": \"%s\",\n    \"options\": \"%s\",\n    \"seed\": %" PRIu64
                        ",\n    \"chance\": %s\n  },\n",
                        facts->task, facts->task_options, facts->task_seed,
                        lh_json_format_real(chance, facts->chance));
    }
    lh_string_print(out,
                    "  \"tokenizer\": {\n    \"kind\": \"%s\",\n    \"file\": \"%s\",\n    \"vocabulary\": %" PRIu64
                    ",\n    \"fingerprint\": \"%016" PRIx64 "\"\n  },\n  \"splits\": {\n",
                    facts->tokenizer_kind, facts->tokenizer_file, facts->vocab_size, facts->fingerprint);
}

lh_status lh_dataset_write(const char *path, const char *source, const lh_dataset_facts *facts,
                           const uint32_t shard_counts[LH_SPLITS], lh_error *error)
{
    lh_string out = {0};
    add_facts(&out, source, facts);
    lh_status status = LH_OK;
    bool first = true;
    for (int split = 0; status == LH_OK && split < LH_SPLITS; split++) {
        if (shard_counts[split] > 0) {
            lh_string_print(&out, "%s", first ? "" : ",\n");
            status = add_split(&out, path, split, shard_counts[split], error);
            first = false;
        }
    }
    lh_string_print(&out, "\n  }\n}\n");
    char *file = json_path(path, error);
    if (status == LH_OK && (out.failed || !file)) {
        status = lh_fail(error, LH_E_MEMORY, "no memory to write %s/%s", path, LH_DATASET_FILE);
    }
    if (status == LH_OK) {
        status = lh_file_write(file, out.data, out.size, error);
    }
    lh_heap_free(file);
    lh_string_free(&out);
    return status;
}

/* ---- reading ---- */

static lh_status read_hex(const lh_json *object, const char *key, uint64_t *value, lh_error *error)
{
    const char *text;
    LH_TRY(lh_json_string(object, key, &text, error));
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16 || sscanf(text, "%" SCNx64, value) != 1) {
        return lh_json_reject(object, key, error, "must be 16 hexadecimal digits");
    }
    return LH_OK;
}

static lh_status read_name(const lh_json *object, const char *key, char *out, size_t size, lh_error *error)
{
    const char *text;
    LH_TRY(lh_json_string(object, key, &text, error));
    if (strlen(text) >= size) {
        return lh_json_reject(object, key, error, "must be shorter than %zu bytes", size);
    }
    (void)snprintf(out, size, "%s", text);
    return LH_OK;
}

/* Names from the file become paths: they must stay in the folder. */
static bool is_plain_name(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/');
}

static lh_status read_count(const lh_json *object, const char *key, uint64_t *value, lh_error *error)
{
    int64_t number = 0;
    LH_TRY(lh_json_integer(object, key, 0, INT64_MAX / 4, &number, error));
    *value = (uint64_t)number;
    return LH_OK;
}

static lh_status read_tokenizer(lh_dataset_facts *facts, const lh_json *root, lh_error *error)
{
    lh_json object;
    LH_TRY(lh_json_object(root, "tokenizer", &object, error));
    LH_TRY(read_name(&object, "kind", facts->tokenizer_kind, sizeof facts->tokenizer_kind, error));
    LH_TRY(read_name(&object, "file", facts->tokenizer_file, sizeof facts->tokenizer_file, error));
    if (*facts->tokenizer_file && !is_plain_name(facts->tokenizer_file)) {
        return lh_json_reject(&object, "file", error, "must be the name of a file in the folder");
    }
    LH_TRY(read_count(&object, "vocabulary", &facts->vocab_size, error));
    return read_hex(&object, "fingerprint", &facts->fingerprint, error);
}

static lh_status read_task(lh_dataset_facts *facts, const lh_json *root, lh_error *error)
{
    lh_json object;
    if (!lh_json_has(root, "task")) {
        return LH_OK;
    }
    LH_TRY(lh_json_object(root, "task", &object, error));
    LH_TRY(read_name(&object, "name", facts->task, sizeof facts->task, error));
    LH_TRY(read_name(&object, "options", facts->task_options, sizeof facts->task_options, error));
    LH_TRY(read_count(&object, "seed", &facts->task_seed, error));
    return lh_json_real(&object, "chance", 0, 1, &facts->chance, error);
}

static lh_status read_facts(lh_dataset *dataset, const lh_json *root, lh_error *error)
{
    lh_dataset_facts *facts = &dataset->facts;
    const char *text;
    int64_t version = 0;
    LH_TRY(lh_json_string(root, "format", &text, error));
    if (strcmp(text, "longhand data set") != 0) {
        return lh_json_reject(root, "format", error, "must be \"longhand data set\"");
    }
    LH_TRY(lh_json_integer(root, "version", 1, DATASET_VERSION, &version, error));
    LH_TRY(lh_json_string(root, "source", &text, error));
    dataset->source = lh_heap_strdup(text);
    if (!dataset->source) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %s", dataset->path);
    }
    LH_TRY(read_name(root, "layout", facts->layout, sizeof facts->layout, error));
    LH_TRY(read_name(root, "split", facts->rule, sizeof facts->rule, error));
    LH_TRY(lh_json_string(root, "line_feeds", &text, error));
    facts->line_feeds_dropped = strcmp(text, "dropped") == 0;
    LH_TRY(lh_json_string(root, "document_end", &text, error));
    facts->documents_ended = strcmp(text, "token") == 0;
    LH_TRY(read_count(root, "empty_documents", &facts->empty_documents, error));
    LH_TRY(read_hex(root, "identity", &facts->identity, error));
    LH_TRY(read_task(facts, root, error));
    return read_tokenizer(facts, root, error);
}

/* The paths of a split's shards, to be released with free_paths. */
static void free_paths(char **paths, size_t count)
{
    for (size_t i = 0; paths && i < count; i++) {
        lh_heap_free(paths[i]);
    }
    lh_heap_free(paths);
}

static lh_status read_shard_paths(const char *folder, const lh_json *shards, char **paths, lh_error *error)
{
    size_t count = lh_json_length(shards);
    for (size_t i = 0; i < count; i++) {
        lh_json shard = lh_json_element(shards, i);
        const char *name;
        LH_TRY(lh_json_string(&shard, "file", &name, error));
        if (!is_plain_name(name)) {
            return lh_json_reject(&shard, "file", error, "must be the name of a file in the folder");
        }
        paths[i] = lh_path_join(folder, name);
        if (!paths[i]) {
            return lh_fail(error, LH_E_MEMORY, "no memory to open %s", folder);
        }
    }
    return LH_OK;
}

static lh_status check_shards(const lh_split *split, const lh_json *shards, lh_error *error)
{
    for (size_t i = 0; i < split->part_count; i++) {
        lh_json shard = lh_json_element(shards, i);
        uint64_t checksum = 0;
        LH_TRY(read_hex(&shard, "checksum", &checksum, error));
        if (checksum != split->shards[i].header.header_checksum) {
            return lh_fail(error, LH_E_FORMAT, "%s is not the shard that %s lists: it is of another preparation",
                           split->shards[i].path, shards->file);
        }
    }
    return LH_OK;
}

static lh_status open_split(lh_dataset *dataset, int index, const lh_json *splits, lh_error *error)
{
    const char *name = lh_split_name(index);
    lh_split *split = &dataset->splits[index];
    lh_json object, shards;
    uint64_t tokens = 0, answers = 0;
    if (!lh_json_has(splits, name)) {
        return LH_OK;
    }
    LH_TRY(lh_json_object(splits, name, &object, error));
    LH_TRY(lh_json_array(&object, "shards", &shards, error));
    size_t count = lh_json_length(&shards);
    if (count == 0) {
        return lh_json_reject(&object, "shards", error, "must list at least one shard");
    }
    char **paths = lh_heap_alloc(count * sizeof *paths);
    lh_status status = paths ? read_shard_paths(dataset->path, &shards, paths, error)
                             : lh_fail(error, LH_E_MEMORY, "no memory to open %s", dataset->path);
    if (status == LH_OK) {
        status = lh_split_open(split, name, (const char *const *)paths, count, error);
    }
    free_paths(paths, count);
    LH_TRY(status);
    LH_TRY(check_shards(split, &shards, error));
    LH_TRY(read_count(&object, "tokens", &tokens, error));
    if (lh_json_has(&object, "answers")) {
        LH_TRY(read_count(&object, "answers", &answers, error));
    }
    if (tokens != split->tokens || answers != split->answers ||
        lh_json_has(&object, "answers") != split->answered || split->fingerprint != dataset->facts.fingerprint ||
        split->vocab_size != dataset->facts.vocab_size) {
        return lh_fail(error, LH_E_FORMAT, "the shards of the split %s in %s do not fit its %s", name,
                       dataset->path, LH_DATASET_FILE);
    }
    return LH_OK;
}

static lh_status open_dataset(lh_dataset *dataset, const char *path, const char *file, lh_error *error)
{
    dataset->path = lh_heap_strdup(path);
    if (!dataset->path) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %s", path);
    }
    if (!lh_file_exists(file)) {
        return lh_fail(error, LH_E_IO, "%s is no prepared data set: it has no %s", path, LH_DATASET_FILE);
    }
    json_t *json = NULL;
    LH_TRY(lh_json_read(file, DATASET_JSON_LIMIT, &json, error));
    lh_json root = lh_json_root(json, file), splits;
    lh_status status = read_facts(dataset, &root, error);
    if (status == LH_OK) {
        status = lh_json_object(&root, "splits", &splits, error);
    }
    if (status == LH_OK) { /* a name that is misspelt would be a split that silently is not there */
        const char *names[LH_SPLITS];
        for (int i = 0; i < LH_SPLITS; i++) {
            names[i] = lh_split_name(i);
        }
        status = lh_json_expect_keys(&splits, names, LH_SPLITS, error);
    }
    for (int i = 0; status == LH_OK && i < LH_SPLITS; i++) {
        status = open_split(dataset, i, &splits, error);
    }
    json_decref(json);
    return status;
}

lh_status lh_dataset_open(lh_dataset **dataset, const char *path, lh_error *error)
{
    *dataset = NULL;
    char *file = json_path(path, error);
    lh_dataset *fresh = lh_heap_alloc(sizeof *fresh);
    lh_status status = LH_E_MEMORY;
    if (!fresh) {
        (void)lh_fail(error, LH_E_MEMORY, "no memory to open %s", path);
    } else if (file) {
        status = open_dataset(fresh, path, file, error);
    }
    lh_heap_free(file);
    if (status != LH_OK) {
        lh_dataset_free(fresh);
        return status;
    }
    *dataset = fresh;
    return LH_OK;
}

void lh_dataset_free(lh_dataset *dataset)
{
    if (!dataset) {
        return;
    }
    for (int i = 0; i < LH_SPLITS; i++) {
        lh_split_close(&dataset->splits[i]);
    }
    lh_heap_free(dataset->path);
    lh_heap_free(dataset->source);
    lh_heap_free(dataset);
}

lh_status lh_dataset_identity(const char *path, uint64_t *identity, lh_error *error)
{
    char *file = json_path(path, error);
    json_t *json = NULL;
    lh_status status = file ? lh_json_read(file, DATASET_JSON_LIMIT, &json, error) : LH_E_MEMORY;
    if (status == LH_OK) {
        lh_json root = lh_json_root(json, file);
        status = read_hex(&root, "identity", identity, error);
    }
    json_decref(json);
    lh_heap_free(file);
    return status;
}

/* ---- questions ---- */

lh_status lh_dataset_split(const lh_dataset *dataset, const char *name, const lh_split **split, lh_error *error)
{
    int index = lh_split_by_name(name, strlen(name));
    *split = NULL;
    if (index >= 0 && dataset->splits[index].part_count > 0) {
        *split = &dataset->splits[index];
        return LH_OK;
    }
    char list[64] = "";
    for (int i = 0; i < LH_SPLITS; i++) {
        if (dataset->splits[i].part_count > 0) {
            size_t used = strlen(list);
            (void)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", lh_split_name(i));
        }
    }
    return lh_fail(error, LH_E_CONFIG, "%s has no split \"%s\"; it has: %s", dataset->path, name,
                   *list ? list : "none");
}

lh_status lh_dataset_tokenizer(const lh_dataset *dataset, lh_tokenizer **tokenizer, lh_error *error)
{
    *tokenizer = NULL;
    const lh_dataset_facts *facts = &dataset->facts;
    if (!*facts->tokenizer_file) {
        LH_TRY(lh_tokenizer_create_bytes(tokenizer, error));
    } else {
        char *path = lh_path_join(dataset->path, facts->tokenizer_file);
        lh_status status =
            path ? lh_tokenizer_open(tokenizer, path, error)
                 : lh_fail(error, LH_E_MEMORY, "no memory to open the tokenizer of %s", dataset->path);
        lh_heap_free(path);
        LH_TRY(status);
    }
    if (lh_tokenizer_fingerprint(*tokenizer) != facts->fingerprint) {
        lh_tokenizer_free(*tokenizer);
        *tokenizer = NULL;
        return lh_fail(error, LH_E_FORMAT, "the tokenizer in %s is not the one that its tokens were made with",
                       dataset->path);
    }
    return LH_OK;
}

const lh_published *lh_dataset_published(const lh_dataset *dataset, const lh_split *split, bool *full)
{
    const lh_published *published = lh_published_find(dataset->facts.layout, split->name);
    bool words = strcmp(dataset->facts.tokenizer_kind, "words") == 0;
    *full = published && !dataset->facts.line_feeds_dropped &&
            lh_published_is_full(published, split->documents, &split->totals, words ? split->tokens : 0);
    return published;
}

lh_status lh_dataset_verify(const lh_dataset *dataset, lh_input_watch watch, void *watch_data, lh_error *error)
{
    uint64_t total = 0, done = 0;
    for (int i = 0; i < LH_SPLITS; i++) {
        for (size_t j = 0; j < dataset->splits[i].part_count; j++) {
            total += dataset->splits[i].shards[j].header.file_bytes;
        }
    }
    for (int i = 0; i < LH_SPLITS; i++) {
        for (size_t j = 0; j < dataset->splits[i].part_count; j++) {
            LH_TRY(lh_shard_verify(&dataset->splits[i].shards[j], error));
            done += dataset->splits[i].shards[j].header.file_bytes;
            if (watch && !watch(watch_data, done, total)) {
                return lh_fail(error, LH_E_INTERRUPTED, "stopped while verifying %s", dataset->path);
            }
        }
    }
    return LH_OK;
}
