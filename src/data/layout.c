#include "data/layout.h"

#include "base/file.h"
#include "base/memory.h"
#include "data/pg19.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define USUAL_TEXTS "*.txt,*.text,*.md,*.tex,*.xml,*.html,*.tokens,*.raw,*.jsonl,*.ndjson"
#define TREE_DEPTH 32

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool ends_with(const char *text, size_t size, const char *end)
{
    size_t length = strlen(end);
    return size > length && memcmp(text + size - length, end, length) == 0;
}

size_t lh_layout_plain_length(const char *name)
{
    static const char *const packed[] = {".gz", ".zst", ".xz"};
    size_t size = strlen(name);
    for (size_t i = 0; i < 3; i++) {
        if (ends_with(name, size, packed[i])) {
            return size - strlen(packed[i]);
        }
    }
    return size;
}

static bool is_json_lines(const char *name)
{
    size_t size = lh_layout_plain_length(name);
    return ends_with(name, size, ".jsonl") || ends_with(name, size, ".ndjson");
}

/* ---- splits in names ---- */

const char *lh_split_name(int split)
{
    static const char *const names[LH_SPLITS] = {"train", "validation", "test"};
    return names[split];
}

int lh_split_by_name(const char *name, size_t size)
{
    static const struct {
        const char *name;
        int split;
    } names[] = {
        {"train", LH_SPLIT_TRAIN},      {"training", LH_SPLIT_TRAIN}, {"validation", LH_SPLIT_VALIDATION},
        {"valid", LH_SPLIT_VALIDATION}, {"val", LH_SPLIT_VALIDATION}, {"dev", LH_SPLIT_VALIDATION},
        {"test", LH_SPLIT_TEST},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i].name) == size && memcmp(names[i].name, name, size) == 0) {
            return names[i].split;
        }
    }
    return -1;
}

/* "wiki.valid.tokens", "train.jsonl.zst", "data-test.txt": the last word before the ending, between . - and _. */
static int split_of_file(const char *name)
{
    size_t size = lh_layout_plain_length(name);
    while (size > 0 && name[size - 1] != '.') {
        size--;
    }
    if (size < 2) {
        return -1; /* no ending */
    }
    size--;
    size_t start = size;
    while (start > 0 && !strchr(".-_", name[start - 1])) {
        start--;
    }
    return lh_split_by_name(name + start, size - start);
}

/* ---- items ---- */

static lh_status grow_items(lh_input *input, lh_error *error)
{
    if (input->count < input->capacity) {
        return LH_OK;
    }
    size_t capacity = input->capacity ? 2 * input->capacity : 64;
    lh_input_item *items = lh_heap_realloc(input->items, capacity * sizeof *items);
    if (!items) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a list of %zu files", capacity);
    }
    input->items = items;
    input->capacity = capacity;
    return LH_OK;
}

lh_status lh_layout_add(lh_input *input, const char *path, const char *name, const char *label, int split,
                        lh_error *error)
{
    struct stat about = {0};
    bool standard_input = strcmp(path, "-") == 0;
    if (!standard_input && stat(path, &about) != 0) {
        return lh_fail_errno(error, "cannot read %s", path);
    }
    if (S_ISDIR(about.st_mode)) {
        return lh_fail(error, LH_E_IO, "cannot read %s: it is a directory, a file was expected", path);
    }
    LH_TRY(grow_items(input, error));
    /* A document is called the same whether its file is packed or not. */
    lh_string plain = {0};
    lh_string_append(&plain, name, lh_layout_plain_length(name));
    lh_input_item *item = &input->items[input->count];
    *item = (lh_input_item){
        .path = lh_heap_strdup(path),
        .name = plain.data,
        .label = lh_heap_strdup(label),
        .split = split,
        .json = strcmp(input->layout, "jsonl") == 0 || (strcmp(input->layout, "text") != 0 && is_json_lines(path)),
        .bytes = S_ISREG(about.st_mode) ? (uint64_t)about.st_size : 0,
        .modified = (int64_t)about.st_mtim.tv_sec * 1000000000 + about.st_mtim.tv_nsec,
    };
    input->count++;
    if (!S_ISREG(about.st_mode)) {
        input->restartable = false; /* a pipe is read once */
    }
    return item->path && item->name && item->label
               ? LH_OK
               : lh_fail(error, LH_E_MEMORY, "no memory for the name of %s", path);
}

/* ---- trees ---- */

/* A name is tried as it is and without .gz, .zst or .xz. */
static bool is_included(const char *name, const char *patterns)
{
    char plain[256], pattern[256];
    size_t size = lh_layout_plain_length(name);
    (void)snprintf(plain, sizeof plain, "%.*s", (int)(size < sizeof plain ? size : sizeof plain - 1), name);
    for (const char *at = patterns; *at;) {
        size_t length = strcspn(at, ",");
        (void)snprintf(pattern, sizeof pattern, "%.*s",
                       (int)(length < sizeof pattern ? length : sizeof pattern - 1), at);
        if (fnmatch(pattern, name, 0) == 0 || fnmatch(pattern, plain, 0) == 0) {
            return true;
        }
        at += length + (at[length] == ',');
    }
    return false;
}

/* Adds the files of a folder and of the folders in it; `prefix` is the folder's path below the root, with a slash
 * at its end if it is not empty. Hidden files are left out. */
static lh_status add_tree(lh_input *input, const char *folder, const char *prefix, const char *patterns, int split,
                          int depth, lh_error *error)
{
    char **names = NULL;
    LH_TRY(lh_directory_list(folder, &names, NULL, error));
    lh_status status = LH_OK;
    lh_string name = {0};
    for (char **entry = names; status == LH_OK && *entry; entry++) {
        if (**entry == '.') {
            continue;
        }
        lh_string_clear(&name);
        lh_string_print(&name, "%s%s", prefix, *entry);
        char *path = lh_path_join(folder, *entry);
        struct stat about;
        if (!path || name.failed) {
            status = lh_fail(error, LH_E_MEMORY, "no memory to list %s", folder);
        } else if (lstat(path, &about) != 0) {
            status = lh_fail_errno(error, "cannot read %s", path);
        } else if (S_ISDIR(about.st_mode)) {
            lh_string_append(&name, "/", 1);
            status = depth >= TREE_DEPTH || name.failed
                         ? lh_fail(error, LH_E_CONFIG, "%s is nested more than %d folders deep", path, TREE_DEPTH)
                         : add_tree(input, path, name.data, patterns, split, depth + 1, error);
        } else if (is_included(*entry, patterns)) {
            status = lh_layout_add(input, path, name.data, "", split, error);
        }
        lh_heap_free(path);
    }
    lh_string_free(&name);
    lh_name_list_free(names);
    return status;
}

static lh_status list_tree(lh_input *input, const char *path, const char *patterns, int split, lh_error *error)
{
    size_t before = input->count;
    LH_TRY(add_tree(input, path, "", patterns ? patterns : USUAL_TEXTS, split, 0, error));
    if (input->count == before) {
        return lh_fail(error, LH_E_CONFIG, "no file below %s matches %s; name others with --include", path,
                       patterns ? patterns : USUAL_TEXTS);
    }
    return LH_OK;
}

/* ---- folders with splits ---- */

/* What the entries of a folder look like. */
typedef struct folder_look {
    bool split_folders[LH_SPLITS], split_files[LH_SPLITS];
    bool other_texts, book_folders, wikitext, enwik8, text8, metadata;
} folder_look;

/* True for "10146.txt", packed or not. */
static bool is_book(const char *name, uint32_t *id)
{
    size_t size = lh_layout_plain_length(name), digits = strspn(name, "0123456789");
    if (digits == 0 || digits > 9 || size != digits + 4 || memcmp(name + digits, ".txt", 4) != 0) {
        return false;
    }
    *id = (uint32_t)strtoul(name, NULL, 10);
    return true;
}

static bool holds_books(const char *folder, const char *name)
{
    char *path = lh_path_join(folder, name), **names = NULL;
    bool books = false;
    if (path && lh_directory_list(path, &names, NULL, NULL) == LH_OK) {
        uint32_t id;
        books = *names != NULL;
        for (char **entry = names; *entry; entry++) {
            books = books && (**entry == '.' || is_book(*entry, &id));
        }
        lh_name_list_free(names);
    }
    lh_heap_free(path);
    return books;
}

static bool is_named(const char *name, const char *wanted)
{
    size_t size = lh_layout_plain_length(name);
    return size == strlen(wanted) && memcmp(name, wanted, size) == 0;
}

static void look_at_entry(folder_look *look, const char *folder, const char *name)
{
    char *path = lh_path_join(folder, name);
    bool is_folder = path && lh_directory_exists(path);
    lh_heap_free(path);
    int split = is_folder ? lh_split_by_name(name, strlen(name)) : split_of_file(name);
    if (is_folder) {
        if (split >= 0) {
            look->split_folders[split] = true;
            look->book_folders = look->book_folders || holds_books(folder, name);
        }
        return;
    }
    look->metadata = look->metadata || is_named(name, "metadata.csv");
    look->enwik8 = look->enwik8 || is_named(name, "enwik8");
    look->text8 = look->text8 || is_named(name, "text8");
    if (!is_included(name, USUAL_TEXTS)) {
        return;
    }
    if (split >= 0) {
        look->split_files[split] = true;
        look->wikitext = look->wikitext || strncmp(name, "wiki", 4) == 0;
    } else {
        look->other_texts = true;
    }
}

static lh_status look_at_folder(folder_look *look, const char *folder, lh_error *error)
{
    *look = (folder_look){0};
    char **names = NULL;
    LH_TRY(lh_directory_list(folder, &names, NULL, error));
    for (char **name = names; *name; name++) {
        if (**name != '.') {
            look_at_entry(look, folder, *name);
        }
    }
    lh_name_list_free(names);
    return LH_OK;
}

/* WikiText-103 trains on half a gigabyte, WikiText-2 on ten megabytes; the other files are the same. */
static const char *which_wikitext(const char *folder)
{
    char **names = NULL;
    const char *which = "wikitext-103";
    if (lh_directory_list(folder, &names, NULL, NULL) != LH_OK) {
        return which;
    }
    for (char **name = names; *name; name++) {
        char *path = lh_path_join(folder, *name);
        struct stat about;
        bool train = split_of_file(*name) == LH_SPLIT_TRAIN;
        if (strncmp(*name, "wikitext-2", 10) == 0 ||
            (train && path && stat(path, &about) == 0 && about.st_size < 50000000)) {
            which = "wikitext-2";
        }
        lh_heap_free(path);
    }
    lh_name_list_free(names);
    return which;
}

static const char *detect_folder(const folder_look *look, const char *folder)
{
    bool folders = look->split_folders[0] || look->split_folders[1] || look->split_folders[2];
    bool files = look->split_files[0] || look->split_files[1] || look->split_files[2];
    if (folders && look->book_folders) {
        return "pg19";
    }
    if (folders) {
        return "splits";
    }
    if (files && !look->other_texts) {
        return look->wikitext ? which_wikitext(folder) : "splits";
    }
    if (look->enwik8 || look->text8) {
        return look->enwik8 ? "enwik8" : "text8";
    }
    return "tree";
}

lh_status lh_layout_detect(lh_input *input, const char *path, lh_error *error)
{
    const char *found = "text", *name = base_name(path);
    struct stat about;
    if (strcmp(path, "-") != 0) {
        if (stat(path, &about) != 0) {
            return lh_fail_errno(error, "cannot read %s", path);
        }
        folder_look look;
        if (S_ISDIR(about.st_mode)) {
            LH_TRY(look_at_folder(&look, path, error));
            found = detect_folder(&look, path);
        } else if (is_named(name, "enwik8") || is_named(name, "text8")) {
            found = is_named(name, "enwik8") ? "enwik8" : "text8";
        } else if (is_json_lines(name)) {
            found = "jsonl";
        }
    }
    (void)snprintf(input->layout, sizeof input->layout, "%s", found);
    return LH_OK;
}

static int compare_by_split(const void *a, const void *b)
{
    const lh_input_item *x = a, *y = b;
    return x->split != y->split ? x->split - y->split : strcmp(x->name, y->name);
}

static lh_status list_splits(lh_input *input, const char *folder, const lh_input_options *options, lh_error *error)
{
    char **names = NULL;
    LH_TRY(lh_directory_list(folder, &names, NULL, error));
    const char *patterns = options->include ? options->include : USUAL_TEXTS;
    lh_status status = LH_OK;
    for (char **name = names; status == LH_OK && *name; name++) {
        char *path = lh_path_join(folder, *name);
        int split = path && lh_directory_exists(path) ? lh_split_by_name(*name, strlen(*name)) : -1;
        if (!path) {
            status = lh_fail(error, LH_E_MEMORY, "no memory to list %s", folder);
        } else if (split >= 0) {
            status = list_tree(input, path, options->include, split, error);
        } else if (!lh_directory_exists(path) && split_of_file(*name) >= 0 && is_included(*name, patterns)) {
            status = lh_layout_add(input, path, *name, "", split_of_file(*name), error);
        }
        lh_heap_free(path);
    }
    lh_name_list_free(names);
    if (status == LH_OK && input->count == 0) {
        return lh_fail(error, LH_E_CONFIG, "%s has no file or folder named train, valid or test", folder);
    }
    if (input->count > 0) {
        qsort(input->items, input->count, sizeof *input->items, compare_by_split);
    }
    return status;
}

/* ---- PG-19 ---- */

static int compare_books(const void *a, const void *b)
{
    const lh_input_item *x = a, *y = b;
    if (x->split != y->split) {
        return x->split - y->split;
    }
    unsigned long m = strtoul(x->name, NULL, 10), n = strtoul(y->name, NULL, 10);
    return (m > n) - (m < n);
}

/* `split` -1: by the book's number. */
static lh_status add_books(lh_input *input, const char *folder, int split, bool force, lh_error *error)
{
    char **names = NULL;
    LH_TRY(lh_directory_list(folder, &names, NULL, error));
    lh_status status = LH_OK;
    for (char **name = names; status == LH_OK && *name; name++) {
        uint32_t id;
        if (!is_book(*name, &id)) {
            continue;
        }
        int official = (int)lh_pg19_split_of(id);
        if (split >= 0 && split != official && !force) {
            status =
                lh_fail(error, LH_E_CONFIG, "%s/%s: this book belongs to the %s split of PG-19 (--force takes it)",
                        folder, *name, lh_split_name(official));
            break;
        }
        char *path = lh_path_join(folder, *name), number[16];
        (void)snprintf(number, sizeof number, "%u", id);
        status = path ? lh_layout_add(input, path, number, "", split >= 0 ? split : official, error)
                      : lh_fail(error, LH_E_MEMORY, "no memory to list %s", folder);
        lh_heap_free(path);
    }
    lh_name_list_free(names);
    return status;
}

static lh_status label_books(lh_input *input, const char *metadata_path, lh_error *error)
{
    lh_pg19_metadata metadata;
    LH_TRY(lh_pg19_metadata_read(&metadata, metadata_path, error));
    lh_status status = LH_OK;
    size_t unknown = 0;
    for (size_t i = 0; status == LH_OK && i < input->count; i++) {
        const lh_pg19_book *book = lh_pg19_find(&metadata, (uint32_t)strtoul(input->items[i].name, NULL, 10));
        lh_string label = {0};
        if (!book) {
            unknown++;
            continue;
        }
        lh_string_print(&label, "%s (%u)", book->title, book->year);
        if (label.failed) {
            status = lh_fail(error, LH_E_MEMORY, "no memory for the titles of the books");
        } else {
            lh_heap_free(input->items[i].label);
            input->items[i].label = label.data;
        }
    }
    if (unknown > 0) {
        lh_string_print(&input->notes, "%s does not list %zu of the %zu books\n", metadata_path, unknown,
                        input->count);
    }
    lh_pg19_metadata_free(&metadata);
    return status;
}

static lh_status list_books(lh_input *input, const char *folder, const lh_input_options *options, lh_error *error)
{
    char **names = NULL;
    LH_TRY(lh_directory_list(folder, &names, NULL, error));
    lh_status status = LH_OK;
    char *metadata = NULL;
    for (char **name = names; status == LH_OK && *name; name++) {
        int split = lh_split_by_name(*name, strlen(*name));
        char *path = lh_path_join(folder, *name);
        if (path && split >= 0 && lh_directory_exists(path)) {
            status = add_books(input, path, split, options->force, error);
        } else if (path && is_named(*name, "metadata.csv") && !metadata) {
            metadata = path;
            path = NULL;
        }
        lh_heap_free(path);
    }
    lh_name_list_free(names);
    if (status == LH_OK && input->count == 0) {
        status = add_books(input, folder, -1, options->force, error);
    }
    if (status == LH_OK && input->count == 0) {
        status = lh_fail(error, LH_E_CONFIG, "%s holds no books of the form <id>.txt", folder);
    }
    if (status == LH_OK) {
        qsort(input->items, input->count, sizeof *input->items, compare_books);
        if (metadata) {
            status = label_books(input, metadata, error);
        }
    }
    lh_heap_free(metadata);
    return status;
}

/* ---- */

/* The one file of enwik8 or text8: the path itself, or the file of that name in a folder. */
static lh_status list_benchmark(lh_input *input, const char *path, lh_error *error)
{
    if (!lh_directory_exists(path)) {
        return lh_layout_add(input, path, input->layout, "", 0, error);
    }
    static const char *const endings[] = {"", ".xz", ".zst", ".gz"};
    for (size_t i = 0; i < 4; i++) {
        lh_string name = {0};
        lh_string_print(&name, "%s/%s%s", path, input->layout, endings[i]);
        lh_status status = LH_OK;
        bool there = !name.failed && lh_file_exists(name.data);
        if (there) {
            status = lh_layout_add(input, name.data, input->layout, "", 0, error);
        }
        lh_string_free(&name);
        if (there) {
            return status;
        }
    }
    return lh_fail(error, LH_E_CONFIG, "there is no file named %s in %s", input->layout, path);
}

lh_status lh_layout_list(lh_input *input, const char *path, const lh_input_options *options, lh_error *error)
{
    const char *layout = input->layout;
    if (strcmp(layout, "enwik8") == 0 || strcmp(layout, "text8") == 0) {
        return list_benchmark(input, path, error);
    }
    if (strcmp(layout, "text") == 0 || strcmp(layout, "jsonl") == 0) {
        bool standard_input = strcmp(path, "-") == 0;
        return lh_layout_add(input, path, standard_input ? "standard input" : base_name(path), "", 0, error);
    }
    if (strcmp(layout, "tree") == 0) {
        return list_tree(input, path, options->include, 0, error);
    }
    if (strcmp(layout, "pg19") == 0) {
        return list_books(input, path, options, error);
    }
    return list_splits(input, path, options, error);
}
