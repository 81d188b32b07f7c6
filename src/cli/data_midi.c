/* data midi: performances in, texts of events out, and back. */
#include "base/file.h"
#include "base/memory.h"
#include "cli/data.h"
#include "cli/internal.h"
#include "cli/verbs.h"
#include "data/reader.h"
#include "text/performance.h"

#include <stdio.h>
#include <string.h>

static const lh_option options[] = {
    {"events", 'e', LH_OPTION_STRING, "WHICH", "perceiver",
     "perceiver: all 128 pitches, 391 tokens, <s> in front; music-transformer: pitches 21 to 108, 310 tokens",
     "perceiver|music-transformer"},
    {"include", 0, LH_OPTION_STRING, "PATTERNS", "*.mid,*.midi,*.json", "Folders: the names of files to take",
     NULL},
    {"skip-broken", 0, LH_OPTION_FLAG, NULL, NULL,
     "Leave out files that cannot be read, with a note, instead of failing", NULL},
    {"decode", 'd', LH_OPTION_FLAG, NULL, NULL,
     "The other way: SOURCE is a text of events, OUT becomes a MIDI file", NULL},
    {0},
};

/* Performances are small: a file beyond this is something else. */
#define PERFORMANCE_LIMIT ((size_t)64 << 20)

typedef struct totals {
    size_t files, skipped, notes, events;
} totals;

static const lh_event_vocabulary *vocabulary_of(const lh_command *command)
{
    bool all = strcmp(lh_command_string(command, "events"), "perceiver") == 0;
    return all ? &lh_events_perceiver : &lh_events_music_transformer;
}

/* A whole file, unpacked. */
static lh_status read_whole(const char *path, lh_string *bytes, lh_error *error)
{
    char buffer[1 << 14];
    lh_reader *reader;
    size_t got = sizeof buffer;
    lh_string_clear(bytes);
    LH_TRY(lh_reader_open(&reader, path, error));
    lh_status status = LH_OK;
    while (status == LH_OK && got == sizeof buffer) {
        status = lh_reader_read(reader, buffer, sizeof buffer, &got, error);
        if (status == LH_OK) {
            lh_string_append(bytes, buffer, got);
        }
        if (status == LH_OK && bytes->size > PERFORMANCE_LIMIT) {
            status = lh_fail(error, LH_E_FORMAT, "%s: longer than 64 MiB, so it is no performance", path);
        }
    }
    lh_reader_free(reader);
    return status == LH_OK && bytes->failed ? lh_fail(error, LH_E_MEMORY, "%s: no memory to read it", path)
                                            : status;
}

/* ids -> words with a line feed now and then, so that people can look at them. */
static void spell(const lh_event_vocabulary *vocabulary, const lh_ids *ids, lh_string *text)
{
    for (size_t i = 0; i < ids->size; i++) {
        char word[16];
        lh_event_word(vocabulary, ids->data[i], word);
        lh_string_print(text, "%s%c", word, i % 16 == 15 || i + 1 == ids->size ? '\n' : ' ');
    }
}

static lh_status convert(const lh_event_vocabulary *vocabulary, const lh_input_item *item, lh_string *text,
                         totals *sum, lh_error *error)
{
    lh_performance p = {0};
    lh_ids ids = {0};
    lh_string bytes = {0};
    lh_status status = read_whole(item->path, &bytes, error);
    const char *data = bytes.data ? bytes.data : "";
    bool json = bytes.size > 0 && (data[0] == '[' || data[0] == '{' || data[0] == ' ' || data[0] == '\n');
    if (status == LH_OK) {
        status = json ? lh_performance_read_json(&p, data, bytes.size, item->path, error)
                      : lh_performance_read_midi(&p, data, bytes.size, item->path, error);
    }
    if (status == LH_OK && p.note_count == 0) {
        status = lh_fail(error, LH_E_FORMAT, "%s: there is no note in it", item->path);
    }
    if (status == LH_OK) {
        status = lh_performance_sustain(&p, error);
    }
    if (status == LH_OK) {
        status = lh_performance_encode(&p, vocabulary, &ids, error);
    }
    if (status == LH_OK) {
        lh_string_clear(text);
        spell(vocabulary, &ids, text);
        sum->notes += p.note_count;
        sum->events += ids.size;
        sum->files++;
    }
    lh_performance_free(&p);
    lh_ids_free(&ids);
    lh_string_free(&bytes);
    return status;
}

/* FOLDER/events[/train]/00012-name.txt: numbered, so that no name hides another. */
static lh_status write_text(const char *folder, const lh_input *input, size_t index, const lh_string *text,
                            lh_error *error)
{
    const lh_input_item *item = &input->items[index];
    lh_string path = {0};
    lh_string_print(&path, "%s/events", folder);
    if (strcmp(input->layout, "splits") == 0) {
        lh_string_print(&path, "/%s", lh_split_name(item->split));
    }
    lh_status status = path.failed ? LH_E_MEMORY : lh_directory_create(path.data, error);
    size_t at = path.size;
    lh_string_print(&path, "/%05zu-%s.txt", index, item->name);
    for (char *c = path.failed ? NULL : path.data + at + 1; c && *c; c++) {
        *c = *c == '/' ? '-' : *c;
    }
    if (path.failed || text->failed) {
        status = lh_fail(error, LH_E_MEMORY, "no memory to write %s", item->name);
    }
    status = status == LH_OK ? lh_file_write(path.data, text->data, text->size, error) : status;
    lh_string_free(&path);
    return status;
}

static lh_status write_tokenizer(const char *folder, const lh_event_vocabulary *vocabulary, lh_error *error)
{
    static const char roles[] = "{\n \"bos_token\": \"<s>\",\n \"pad_token\": \"<pad>\"\n}\n";
    static const char no_start[] = "{\n \"pad_token\": \"<pad>\"\n}\n";
    const char *config = vocabulary->begin == LH_NO_TOKEN ? no_start : roles;
    lh_string json = {0};
    char *file = lh_path_join(folder, "tokenizer.json"), *beside = lh_path_join(folder, "tokenizer_config.json");
    lh_status status = file && beside ? lh_event_tokenizer(vocabulary, &json, error)
                                      : lh_fail(error, LH_E_MEMORY, "no memory to write %s", folder);
    status = status == LH_OK ? lh_file_write(file, json.data, json.size, error) : status;
    status = status == LH_OK ? lh_file_write(beside, config, strlen(config), error) : status;
    lh_string_free(&json);
    lh_heap_free(file);
    lh_heap_free(beside);
    return status;
}

static lh_status convert_all(const lh_command *command, const lh_input *input, const char *folder, totals *sum,
                             lh_error *error)
{
    lh_phase_line line = {0};
    lh_string text = {0};
    lh_status status = LH_OK;
    bool skip = lh_command_flag(command, "skip-broken");
    for (size_t i = 0; i < input->count && status == LH_OK; i++) {
        lh_error own = {0};
        status = convert(vocabulary_of(command), &input->items[i], &text, sum, &own);
        if (status != LH_OK && status != LH_E_MEMORY && skip) {
            lh_phase_line_finish(&line, NULL);
            (void)fprintf(stderr, "longhand: note: left out: %s\n", own.message);
            sum->skipped++;
            status = LH_OK;
            continue;
        }
        if (status != LH_OK) {
            status = lh_fail(error, status, "%s", own.message);
            break;
        }
        status = write_text(folder, input, i, &text, error);
        if (!lh_phase_line_update(&line, "convert", "files", i + 1, input->count, NULL) && status == LH_OK) {
            status = lh_fail(error, LH_E_INTERRUPTED, "stopped after %zu of %zu files", i + 1, input->count);
        }
    }
    lh_phase_line_finish(&line, NULL);
    lh_string_free(&text);
    if (status == LH_OK && sum->files == 0) {
        status = lh_fail(error, LH_E_FORMAT, "none of the %zu files holds a performance", input->count);
    }
    return status;
}

static lh_status encode_source(const lh_command *command, const char *source, const char *folder, lh_error *error)
{
    lh_input *input;
    totals sum = {0};
    lh_string out = {0};
    lh_input_options how = {.include = lh_command_string(command, "include"), .skip_empty = true};
    char *events = lh_path_join(folder, "events");
    bool there = events && lh_directory_exists(events);
    lh_heap_free(events);
    if (there) {
        return lh_fail(error, LH_E_CONFIG, "%s/events is there already: give another folder or remove it", folder);
    }
    LH_TRY(lh_input_open(&input, source, &how, NULL, NULL, error));
    lh_status status = lh_directory_create(folder, error);
    status = status == LH_OK ? convert_all(command, input, folder, &sum, error) : status;
    status = status == LH_OK ? write_tokenizer(folder, vocabulary_of(command), error) : status;
    lh_input_free(input);
    LH_TRY(status);
    lh_string_print(&out, "%zu performances, %zu notes, %zu events of %d kinds", sum.files, sum.notes, sum.events,
                    lh_event_count(vocabulary_of(command)));
    if (sum.skipped > 0) {
        lh_string_print(&out, "; %zu files left out", sum.skipped);
    }
    lh_string_print(&out, "\nnow: longhand data prepare %s/events DIR --tokenizer %s --by documents\n", folder,
                    folder);
    return lh_print_text(&out, error);
}

/* The ids of a text of events; words that are none are an error. */
static lh_status ids_of(const lh_event_vocabulary *vocabulary, const lh_string *text, lh_ids *ids, lh_error *error)
{
    lh_string json = {0};
    lh_tokenizer *tokenizer = NULL;
    lh_status status = lh_event_tokenizer(vocabulary, &json, error);
    status = status == LH_OK ? lh_tokenizer_read(&tokenizer, json.data, json.size, "events", error) : status;
    status = status == LH_OK ? lh_tokenizer_encode(tokenizer, text->data, text->size, 0, ids, error) : status;
    lh_tokenizer_free(tokenizer);
    lh_string_free(&json);
    return status;
}

static lh_status decode_source(const lh_command *command, const char *source, const char *path, lh_error *error)
{
    const lh_event_vocabulary *vocabulary = vocabulary_of(command);
    lh_performance p = {0};
    lh_string text = {0}, file = {0}, out = {0};
    lh_ids ids = {0};
    lh_status status = read_whole(source, &text, error);
    status = status == LH_OK ? ids_of(vocabulary, &text, &ids, error) : status;
    status = status == LH_OK ? lh_performance_decode(&p, vocabulary, ids.data, ids.size, error) : status;
    status = status == LH_OK ? lh_performance_write_midi(&p, &file, error) : status;
    status = status == LH_OK ? lh_file_write(path, file.data, file.size, error) : status;
    if (status == LH_OK) {
        lh_string_print(&out, "%s: %zu notes of %zu events\n", path, p.note_count, ids.size);
        status = lh_print_text(&out, error);
    }
    lh_performance_free(&p);
    lh_string_free(&text);
    lh_string_free(&file);
    lh_ids_free(&ids);
    return status;
}

static lh_status run_midi(const lh_command *command, lh_error *error)
{
    const char *source = lh_command_operand(command, 0), *out = lh_command_operand(command, 1);
    lh_signals_install();
    return lh_command_flag(command, "decode") ? decode_source(command, source, out, error)
                                              : encode_source(command, source, out, error);
}

const lh_verb lh_verb_data_midi = {
    .name = "data midi",
    .summary = "Turn MIDI files or notes into texts of events, and back",
    .operands = "SOURCE OUT",
    .description =
        "Reads a MIDI file, a JSON list of notes, or a folder of them, and writes OUT/events, one text of events "
        "for "
        "each, and OUT/tokenizer.json, whose words they are: on60 and off60 begin and end a note, shift25 lets 250 "
        "ms "
        "pass, vel20 sets the velocity of what follows. These are the events of the Music Transformer, on a grid "
        "of "
        "10 ms, with notes as long as the sustain pedal holds them. All tracks count as one instrument's; "
        "percussion "
        "is left out. Folders named train, valid and test stay apart.\n\n"
        "JSON: a list of [start, end, pitch, velocity] with times in seconds, or an object with that list as "
        "\"notes\" "
        "and [time, value] pairs of the pedal as \"pedal\".\n\n"
        "With --decode it is the other way: SOURCE is a text of events, as a model writes it, and OUT a MIDI file.",
    .examples = "longhand data midi maestro/ data/piano\n    performances as texts; then longhand data prepare\n"
                "longhand generate runs/piano --tokens 4000 >piece.txt && longhand data midi piece.txt piece.mid "
                "--decode\n    listen to what a model plays",
    .min_operands = 2,
    .max_operands = 2,
    .options = options,
    .run = run_midi,
};
