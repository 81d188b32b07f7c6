/* data get and data list: public data sets. */
#include "cli/data.h"
#include "cli/internal.h"
#include "cli/verbs.h"
#include "data/catalog.h"
#include "data/input.h"
#include "formats/json_util.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- get ---- */

static const lh_option get_options[] = {
    {"out", 'o', LH_OPTION_STRING, "DIR", NULL, "Where the files go (default: data/NAME)", NULL},
    {"split", 's', LH_OPTION_STRING, "NAME", NULL, "pg19: only train, validation or test", NULL},
    {"books", 0, LH_OPTION_INTEGER, "N", "0", "pg19: at most so many books of each split; 0 gets all", NULL},
    {"parallel", 'j', LH_OPTION_INTEGER, "N", "0", "Transfers at a time (default: 8 for pg19, else 1)", NULL},
    {"retries", 0, LH_OPTION_INTEGER, "N", "5", "Attempts after one that brought nothing", NULL},
    {"keep-archive", 0, LH_OPTION_FLAG, NULL, NULL, "Keep the zip archive beside its files", NULL},
    {"base-url", 0, LH_OPTION_STRING, "URL", NULL, "A mirror: the address to which file names are appended", NULL},
    {0},
};

static bool watch(void *data, size_t files, size_t all_files, uint64_t bytes, uint64_t expected)
{
    char note[64] = "";
    if (all_files > 1) {
        (void)snprintf(note, sizeof note, "%zu of %zu files", files, all_files);
    }
    return lh_phase_line_update(data, "get", "B", bytes, expected > 0 ? bytes + expected : 0, *note ? note : NULL);
}

static lh_status choose(const lh_command *command, lh_catalog_options *chosen, lh_error *error)
{
    const char *split = lh_command_string(command, "split");
    int64_t parallel = lh_command_integer(command, "parallel"), retries = lh_command_integer(command, "retries");
    int64_t books = lh_command_integer(command, "books");
    chosen->split = split ? lh_split_by_name(split, strlen(split)) : -1;
    if (split && chosen->split < 0) {
        return lh_fail(error, LH_E_ARGUMENT, "--split must be train, validation or test, not \"%s\"", split);
    }
    if (parallel < 0 || parallel > 64 || retries < 0 || retries > 1000 || books < 0) {
        return lh_fail(error, LH_E_ARGUMENT,
                       "--parallel must be from 0 to 64, --retries from 0 to 1000, --books at least 0");
    }
    chosen->books = books;
    chosen->parallel = (int)parallel;
    chosen->retries = retries == 0 ? -1 : (int)retries;
    chosen->keep_archive = lh_command_flag(command, "keep-archive");
    chosen->base_url = lh_command_string(command, "base-url");
    return LH_OK;
}

static lh_status run_get(const lh_command *command, lh_error *error)
{
    const lh_catalog_entry *entry;
    LH_TRY(lh_catalog_find(lh_command_operand(command, 0), &entry, error));
    lh_phase_line line = {0};
    lh_catalog_options chosen = {.watch = watch, .watch_data = &line};
    LH_TRY(choose(command, &chosen, error));
    if (!entry->books && (chosen.split >= 0 || chosen.books > 0)) {
        return lh_fail(error, LH_E_ARGUMENT, "--split and --books belong to pg19, not to %s", entry->name);
    }
    char fallback[64];
    (void)snprintf(fallback, sizeof fallback, "data/%s", entry->name);
    const char *folder = lh_command_given(command, "out") ? lh_command_string(command, "out") : fallback;
    lh_signals_install();
    lh_catalog_report report;
    lh_status status = lh_catalog_get(entry, folder, &chosen, &report, error);
    lh_phase_line_finish(&line, NULL);
    lh_print_notes(&report.notes);
    lh_string_free(&report.notes);
    LH_TRY(status);
    lh_string text = {0};
    lh_string_print(&text, "%s: %zu files in %s, %zu of them were there\n", entry->name, report.files, folder,
                    report.there);
    return lh_print_text(&text, error);
}

const lh_verb lh_verb_data_get = {
    .name = "data get",
    .summary = "Download a public data set",
    .operands = "NAME",
    .description =
        "Downloads one of the data sets of 'longhand data list' and checks it against the published checksums. "
        "Transfers are resumed where they stopped, and tried again when the network or the server fails; a file "
        "has its final name only when it is complete. Interrupted, the same command goes on.\n\n"
        "PG-19 has no archive: its metadata.csv and 28,752 books are fetched one by one, several at a time, test "
        "and validation books first.",
    .examples = "longhand data get enwik8\n    into data/enwik8\n"
                "longhand data get pg19 --split test\n    the 100 test books\n"
                "longhand data get pg19 --books 40 --out data/pg19-small\n    at most 40 books of each split",
    .min_operands = 1,
    .max_operands = 1,
    .options = get_options,
    .run = run_get,
};

/* ---- list ---- */

static const lh_option list_options[] = {
    {"json", 'j', LH_OPTION_FLAG, NULL, NULL, "Print JSON instead of a table", NULL},
    {0},
};

static void add_json(lh_string *out, const char *key, const char *value)
{
    lh_string_print(out, ", \"%s\": ", key);
    lh_json_append_string(out, value, strlen(value));
}

static lh_status run_list(const lh_command *command, lh_error *error)
{
    lh_string text = {0};
    bool json = lh_command_flag(command, "json");
    if (json) {
        lh_string_print(&text, "[");
    } else {
        lh_string_print(&text, "%-17s%10s  %-60s%s\n", "name", "download", "what", "licence");
    }
    for (const lh_catalog_entry *entry = lh_catalog; entry->name; entry++) {
        char size[32];
        if (json) {
            lh_string_print(&text, "%s\n  {\"name\": \"%s\", \"bytes\": %" PRIu64, entry == lh_catalog ? "" : ",",
                            entry->name, entry->bytes);
            add_json(&text, "title", entry->title);
            add_json(&text, "licence", entry->licence);
            add_json(&text, "address", entry->base_url);
            lh_string_print(&text, "}");
        } else {
            lh_string_print(&text, "%-17s%10s  %-60s%s\n", entry->name,
                            lh_format_bytes(size, sizeof size, (double)entry->bytes), entry->title, entry->licence);
        }
    }
    if (json) {
        lh_string_print(&text, "\n]\n");
    }
    return lh_print_text(&text, error);
}

const lh_verb lh_verb_data_list = {
    .name = "data list",
    .summary = "List the public data sets that can be downloaded",
    .operands = "",
    .description = "Names, sizes and licences of what 'longhand data get' knows.",
    .examples = "longhand data list\n    the table",
    .options = list_options,
    .run = run_list,
};
