#include "data/catalog.h"

#include "base/file.h"
#include "base/memory.h"
#include "data/digest.h"
#include "data/fetch.h"
#include "data/input.h"
#include "data/pg19.h"
#include "data/zip.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CC_BY_SA "CC BY-SA 3.0 and GFDL (Wikipedia authors)"

const lh_catalog_entry lh_catalog[] = {
    {
        .name = "enwik8",
        .title = "First 10^8 bytes of a Wikipedia dump of 2006, XML",
        .licence = CC_BY_SA,
        .base_url = "http://mattmahoney.net/dc/",
        .archive = {"enwik8.zip", "enwik8.zip", 36445475, NULL},
        .files = {{"enwik8", "enwik8", 100000000, "57b8363b814821dc9d47aa4d41f58733519076b2"}},
        .bytes = 36445475,
    },
    {
        .name = "text8",
        .title = "10^8 characters of Wikipedia text, a to z and space",
        .licence = CC_BY_SA,
        .base_url = "http://mattmahoney.net/dc/",
        .archive = {"text8.zip", "text8.zip", 0,
                    "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232"},
        .files = {{"text8", "text8", 100000000, "3bea1919949baf155f99411df5fada7e"}},
        .bytes = 31344016,
    },
    {
        .name = "wikitext-103",
        .title = "28,475 Wikipedia articles, words and <unk>",
        .licence = CC_BY_SA,
        .base_url = "https://wikitext.smerity.com/",
        .archive = {"wikitext-103-v1.zip", "wikitext-103-v1.zip", 0,
                    "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590"},
        .files = {{"wikitext-103/wiki.train.tokens", "wiki.train.tokens", 0, NULL},
                  {"wikitext-103/wiki.valid.tokens", "wiki.valid.tokens", 0, NULL},
                  {"wikitext-103/wiki.test.tokens", "wiki.test.tokens", 0, NULL}},
        .bytes = 190229076,
    },
    {
        .name = "wikitext-2",
        .title = "600 Wikipedia articles, words and <unk>",
        .licence = CC_BY_SA,
        .base_url = "https://wikitext.smerity.com/",
        .archive = {"wikitext-2-v1.zip", "wikitext-2-v1.zip", 0,
                    "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c"},
        .files = {{"wikitext-2/wiki.train.tokens", "wiki.train.tokens", 0, NULL},
                  {"wikitext-2/wiki.valid.tokens", "wiki.valid.tokens", 0, NULL},
                  {"wikitext-2/wiki.test.tokens", "wiki.test.tokens", 0, NULL}},
        .bytes = 4475746,
    },
    {
        .name = "pg19",
        .title = "28,752 books of Project Gutenberg published before 1919",
        .licence = "Apache 2.0 (compilation); texts public domain in the USA",
        .base_url = "https://storage.googleapis.com/deepmind-gutenberg/",
        .books = true,
        .bytes = 11600000000,
    },
    {
        .name = "tinyshakespeare",
        .title = "Plays of Shakespeare, one file, for first steps",
        .licence = "public domain",
        .base_url = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",
        .files = {{"input.txt", "tinyshakespeare.txt", 1115394,
                   "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"}},
        .bytes = 1115394,
    },
    {.name = NULL},
};

lh_status lh_catalog_find(const char *name, const lh_catalog_entry **entry, lh_error *error)
{
    const char *names[32];
    size_t count = 0;
    for (const lh_catalog_entry *at = lh_catalog; at->name && count < 32; at++) {
        if (strcmp(at->name, name) == 0) {
            *entry = at;
            return LH_OK;
        }
        names[count++] = at->name;
    }
    *entry = NULL;
    const char *nearest = lh_nearest_name(name, names, count);
    return nearest ? lh_fail(error, LH_E_ARGUMENT, "there is no data set \"%s\"; did you mean %s?", name, nearest)
                   : lh_fail(error, LH_E_ARGUMENT, "there is no data set \"%s\"; `longhand data list` names them",
                             name);
}

/* ---- lists of files to fetch ---- */

typedef struct fetch_list {
    lh_fetch_item *items;
    size_t count, capacity;
} fetch_list;

static void free_list(fetch_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        lh_heap_free((char *)(uintptr_t)list->items[i].url);
        lh_heap_free((char *)(uintptr_t)list->items[i].path);
    }
    lh_heap_free(list->items);
    *list = (fetch_list){0};
}

static char *joined(const char *first, const char *second)
{
    lh_string text = {0};
    size_t size = strlen(first);
    lh_string_print(&text, "%s%s%s", first, size > 0 && first[size - 1] == '/' ? "" : "/", second);
    return text.failed ? NULL : text.data;
}

static lh_status add_item(fetch_list *list, const char *base, const char *source, const char *folder,
                          const char *name, uint64_t bytes, const char *digest, lh_error *error)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        lh_fetch_item *items = lh_heap_realloc(list->items, capacity * sizeof *items);
        if (!items) {
            return lh_fail(error, LH_E_MEMORY, "no memory for a list of %zu files", capacity);
        }
        list->items = items;
        list->capacity = capacity;
    }
    lh_fetch_item item = {
        .url = joined(base, source), .path = joined(folder, name), .bytes = bytes, .digest = digest};
    list->items[list->count++] = item;
    return item.url && item.path ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory for the name of %s", name);
}

/* ---- getting ---- */

typedef struct getting {
    const lh_catalog_entry *entry;
    const char *folder, *base;
    const lh_catalog_options *options;
    lh_catalog_report *report;
    size_t before, all; /* files complete before this fetch, and in all */
    uint64_t bytes;     /* received by earlier fetches */
    uint64_t received;
} getting;

static bool watch(void *data, size_t files, uint64_t bytes, uint64_t expected)
{
    getting *g = data;
    g->received = bytes;
    const lh_catalog_options *options = g->options;
    return !options->watch ||
           options->watch(options->watch_data, g->before + files, g->all, g->bytes + bytes, expected);
}

static lh_status fetch(getting *g, const fetch_list *list, int parallel, lh_error *error)
{
    lh_fetch_options options = {
        .parallel = g->options->parallel > 0 ? g->options->parallel : parallel,
        .retries = g->options->retries,
        .pause = g->options->pause,
        .watch = watch,
        .watch_data = g,
    };
    lh_status status = lh_fetch(list->items, list->count, &options, error);
    g->before += list->count;
    g->bytes += g->received;
    g->received = 0;
    return status;
}

static size_t count_files(const lh_catalog_entry *entry)
{
    size_t count = 0;
    while (count < sizeof entry->files / sizeof *entry->files && entry->files[count].source) {
        count++;
    }
    return count;
}

static lh_status count_present(const getting *g, size_t *present, lh_error *error)
{
    *present = 0;
    for (size_t i = 0; i < count_files(g->entry); i++) {
        char *path = joined(g->folder, g->entry->files[i].name);
        if (!path) {
            return lh_fail(error, LH_E_MEMORY, "no memory to look at %s", g->folder);
        }
        *present += lh_file_exists(path);
        lh_heap_free(path);
    }
    return LH_OK;
}

/* The checksum of what was unpacked; an archive that is right makes right files, but not every archive has one. */
static lh_status check_file(const lh_catalog_file *file, const char *path, const char *archive, lh_error *error)
{
    lh_digest_kind kind;
    char hex[LH_DIGEST_HEX];
    if (!file->digest || !lh_digest_kind_of(file->digest, &kind)) {
        return LH_OK;
    }
    LH_TRY(lh_digest_file(path, kind, hex, error));
    if (strcmp(hex, file->digest) == 0) {
        return LH_OK;
    }
    (void)unlink(path);
    return lh_fail(error, LH_E_FORMAT, "%s in %s is not the published file: its %s is %s, %s is expected",
                   file->source, archive, lh_digest_name(kind), hex, file->digest);
}

static lh_status unpack_file(const getting *g, const lh_zip *zip, const lh_catalog_file *file, lh_error *error)
{
    const lh_zip_entry *found = lh_zip_find(zip, file->source);
    if (!found) {
        return lh_fail(error, LH_E_FORMAT, "%s does not hold %s", zip->path, file->source);
    }
    char *path = joined(g->folder, file->name);
    if (!path) {
        return lh_fail(error, LH_E_MEMORY, "no memory to unpack %s", zip->path);
    }
    lh_status status = lh_file_exists(path) ? LH_OK : lh_zip_extract(zip, found, path, error);
    if (status == LH_OK) {
        status = check_file(file, path, zip->path, error);
    }
    lh_heap_free(path);
    return status;
}

static lh_status unpack(const getting *g, const char *archive, lh_error *error)
{
    lh_zip zip;
    LH_TRY(lh_zip_open(&zip, archive, error));
    lh_status status = LH_OK;
    for (size_t i = 0; status == LH_OK && i < count_files(g->entry); i++) {
        status = unpack_file(g, &zip, &g->entry->files[i], error);
    }
    lh_zip_close(&zip);
    if (status == LH_OK && !g->options->keep_archive && unlink(archive) != 0) {
        return lh_fail_errno(error, "cannot remove %s", archive);
    }
    return status;
}

static lh_status get_files(getting *g, lh_error *error)
{
    const lh_catalog_entry *entry = g->entry;
    size_t count = count_files(entry);
    LH_TRY(count_present(g, &g->report->there, error));
    g->report->files = count;
    if (g->report->there == count) {
        return LH_OK;
    }
    fetch_list list = {0};
    lh_status status = LH_OK;
    if (entry->archive.source) {
        g->all = 1;
        status = add_item(&list, g->base, entry->archive.source, g->folder, entry->archive.name,
                          entry->archive.bytes, entry->archive.digest, error);
    } else {
        g->all = count;
        for (size_t i = 0; status == LH_OK && i < count; i++) {
            status = add_item(&list, g->base, entry->files[i].source, g->folder, entry->files[i].name,
                              entry->files[i].bytes, entry->files[i].digest, error);
        }
    }
    if (status == LH_OK) {
        status = fetch(g, &list, 1, error);
    }
    if (status == LH_OK && entry->archive.source && list.count > 0) {
        status = unpack(g, list.items[0].path, error);
    }
    free_list(&list);
    return status;
}

/* ---- PG-19 ---- */

static lh_status list_books(const getting *g, const lh_pg19_metadata *metadata, fetch_list *list, lh_error *error)
{
    int64_t taken[LH_SPLITS] = {0};
    /* Small splits first, so that an evaluation can begin early. */
    static const int order[LH_SPLITS] = {LH_SPLIT_TEST, LH_SPLIT_VALIDATION, LH_SPLIT_TRAIN};
    for (int i = 0; i < LH_SPLITS; i++) {
        int split = order[i];
        if (g->options->split >= 0 && g->options->split != split) {
            continue;
        }
        for (size_t j = 0; j < metadata->count; j++) {
            if ((int)lh_pg19_split_of(metadata->books[j].id) != split ||
                (g->options->books > 0 && taken[split] == g->options->books)) {
                continue;
            }
            char name[48];
            (void)snprintf(name, sizeof name, "%s/%u.txt", lh_split_name(split), metadata->books[j].id);
            LH_TRY(add_item(list, g->base, name, g->folder, name, 0, NULL, error));
            taken[split]++;
        }
    }
    return LH_OK;
}

static lh_status get_listed_books(getting *g, const lh_pg19_metadata *metadata, lh_error *error)
{
    fetch_list list = {0};
    lh_status status = list_books(g, metadata, &list, error);
    g->report->files = g->all = list.count + 1;
    for (size_t i = 0; i < list.count; i++) {
        g->report->there += lh_file_exists(list.items[i].path);
    }
    if (status == LH_OK) {
        status = fetch(g, &list, 8, error);
    }
    free_list(&list);
    return status;
}

static lh_status get_books(getting *g, lh_error *error)
{
    fetch_list list = {0};
    lh_status status = add_item(&list, g->base, "metadata.csv", g->folder, "metadata.csv", 0, NULL, error);
    g->all = 1;
    if (status == LH_OK) {
        g->report->there = lh_file_exists(list.items[0].path);
        status = fetch(g, &list, 1, error);
    }
    lh_pg19_metadata metadata = {0};
    if (status == LH_OK) {
        status = lh_pg19_metadata_read(&metadata, list.items[0].path, error);
    }
    free_list(&list);
    LH_TRY(status);
    if (metadata.count != LH_PG19_BOOKS) {
        lh_string_print(&g->report->notes, "metadata.csv lists %zu books, %d are published\n", metadata.count,
                        LH_PG19_BOOKS);
    }
    status = get_listed_books(g, &metadata, error);
    lh_pg19_metadata_free(&metadata);
    return status;
}

lh_status lh_catalog_get(const lh_catalog_entry *entry, const char *folder, const lh_catalog_options *options,
                         lh_catalog_report *report, lh_error *error)
{
    *report = (lh_catalog_report){0};
    getting g = {
        .entry = entry,
        .folder = folder,
        .base = options->base_url ? options->base_url : entry->base_url,
        .options = options,
        .report = report,
    };
    LH_TRY(lh_directory_create(folder, error));
    return entry->books ? get_books(&g, error) : get_files(&g, error);
}
