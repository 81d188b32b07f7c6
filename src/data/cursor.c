#include "data/input.h"

#include "base/memory.h"
#include "data/jsonl.h"
#include "data/reader.h"

#include <stdio.h>
#include <string.h>

#define CURSOR_BUFFER ((size_t)128 * 1024)
#define JSON_LINE_LIMIT ((size_t)1 << 30)

struct lh_cursor {
    const lh_input *input;
    lh_input_position position; /* of the next document, once this one is read */
    lh_reader *reader;          /* of the open item, or NULL */
    unsigned char *buffer;      /* [CURSOR_BUFFER] text of the item */
    size_t at, size;
    bool item_ended;                   /* nothing comes after the buffer */
    int split;                         /* of the current document */
    bool inside;                       /* the current document has text left */
    lh_string line, text, name, title; /* JSON Lines */
    size_t text_at;
    uint64_t line_bytes; /* with the line feed, if there is one */
};

static const lh_input_item *current_item(const lh_cursor *cursor)
{
    return &cursor->input->items[cursor->position.item];
}

/* ---- the text of an item ---- */

static lh_status fill(lh_cursor *cursor, lh_error *error)
{
    if (cursor->at < cursor->size || cursor->item_ended) {
        return LH_OK;
    }
    cursor->at = cursor->size = 0;
    LH_TRY(lh_reader_read(cursor->reader, cursor->buffer, CURSOR_BUFFER, &cursor->size, error));
    cursor->item_ended = cursor->size < CURSOR_BUFFER;
    return LH_OK;
}

static bool at_item_end(const lh_cursor *cursor)
{
    return cursor->at == cursor->size && cursor->item_ended;
}

static lh_status open_item(lh_cursor *cursor, lh_error *error)
{
    LH_TRY(lh_reader_open(&cursor->reader, current_item(cursor)->path, error));
    cursor->at = cursor->size = 0;
    cursor->item_ended = false;
    LH_TRY(lh_reader_skip(cursor->reader, cursor->position.offset, error));
    return fill(cursor, error);
}

static void close_item(lh_cursor *cursor)
{
    lh_reader_free(cursor->reader);
    cursor->reader = NULL;
    cursor->position.consumed += current_item(cursor)->bytes;
    cursor->position.item++;
    cursor->position.offset = cursor->position.line = cursor->position.inner = 0;
}

/* ---- splits ---- */

/* The split of a document that begins here. */
static int split_here(const lh_cursor *cursor)
{
    const lh_input *input = cursor->input;
    if (input->rule == LH_SPLIT_BY_LAYOUT) {
        return current_item(cursor)->split;
    }
    uint64_t seen = input->rule == LH_SPLIT_BY_BYTES ? cursor->position.bytes : cursor->position.documents;
    int split = 0;
    while (split < LH_SPLITS - 1 && seen >= input->limits[split]) {
        split++;
    }
    return split;
}

/* How many bytes the current document may still have before it is cut: at least one inside a character. */
static uint64_t bytes_to_cut(const lh_cursor *cursor, unsigned char next)
{
    const lh_input *input = cursor->input;
    if (input->rule != LH_SPLIT_BY_BYTES || cursor->split == LH_SPLITS - 1) {
        return UINT64_MAX;
    }
    uint64_t limit = input->limits[cursor->split], seen = cursor->position.bytes;
    if (seen < limit) {
        return limit - seen;
    }
    return !input->cut_anywhere && (next & 0xc0) == 0x80 && seen < limit + 3 ? 1 : 0;
}

/* ---- JSON Lines ---- */

static lh_status fail_memory(const lh_cursor *cursor, lh_error *error)
{
    return lh_fail(error, LH_E_MEMORY, "no memory for line %llu of %s",
                   (unsigned long long)cursor->position.line + 1, current_item(cursor)->path);
}

/* Reads one line without its line feed. */
static lh_status read_line(lh_cursor *cursor, lh_error *error)
{
    lh_string_clear(&cursor->line);
    cursor->line_bytes = 0;
    for (;;) {
        LH_TRY(fill(cursor, error));
        const unsigned char *from = cursor->buffer + cursor->at;
        size_t left = cursor->size - cursor->at;
        const unsigned char *feed = left > 0 ? memchr(from, '\n', left) : NULL;
        size_t part = feed ? (size_t)(feed - from) : left;
        lh_string_append(&cursor->line, from, part);
        if (cursor->line.failed) {
            return fail_memory(cursor, error);
        }
        if (cursor->line.size > JSON_LINE_LIMIT) {
            return lh_fail(error, LH_E_FORMAT, "line %llu of %s is longer than 1 GiB: is it JSON Lines?",
                           (unsigned long long)cursor->position.line + 1, current_item(cursor)->path);
        }
        part += feed ? 1 : 0;
        cursor->at += part;
        cursor->line_bytes += part;
        if (feed || at_item_end(cursor)) {
            return LH_OK;
        }
    }
}

static bool is_blank(const lh_string *line)
{
    return !line->data || strspn(line->data, " \t\r") == line->size;
}

/* Parses the line that begins here into the text of a document. *found is false for a line without text. The
 * position stays at the line until its text is read to the end. */
static lh_status parse_line(lh_cursor *cursor, bool *found, lh_error *error)
{
    const lh_input_item *item = current_item(cursor);
    LH_TRY(read_line(cursor, error));
    *found = false;
    if (is_blank(&cursor->line)) {
        return LH_OK;
    }
    LH_TRY(lh_json_line_parse(cursor->line.data, cursor->line.size, cursor->input->field, item->path,
                              cursor->position.line + 1, &cursor->text, &cursor->title, error));
    lh_string_clear(&cursor->name);
    lh_string_print(&cursor->name, "%s:%llu", item->name, (unsigned long long)cursor->position.line + 1);
    if (cursor->name.failed) {
        return fail_memory(cursor, error);
    }
    cursor->position.empty += cursor->text.size == 0;
    *found = cursor->text.size > 0;
    return LH_OK;
}

static void finish_line(lh_cursor *cursor)
{
    cursor->position.offset += cursor->line_bytes;
    cursor->position.line++;
    cursor->position.inner = 0;
    lh_string_clear(&cursor->text);
    cursor->text_at = 0;
}

/* ---- documents ---- */

static lh_status next_json(lh_cursor *cursor, bool *found, lh_error *error)
{
    *found = false;
    /* The rest of a text that was cut at the end of a split: still in memory, or to be parsed again. */
    if (cursor->text_at < cursor->text.size) {
        *found = true;
        return LH_OK;
    }
    while (!*found && !at_item_end(cursor)) {
        LH_TRY(parse_line(cursor, found, error));
        if (!*found) {
            finish_line(cursor);
        }
        LH_TRY(fill(cursor, error));
    }
    if (*found) {
        cursor->text_at = cursor->position.inner < cursor->text.size ? cursor->position.inner : 0;
    }
    return LH_OK;
}

static lh_status next_in_item(lh_cursor *cursor, bool *found, lh_error *error)
{
    const lh_input_item *item = current_item(cursor);
    bool fresh = !cursor->reader && cursor->position.offset == 0;
    if (!cursor->reader) {
        LH_TRY(open_item(cursor, error));
    }
    LH_TRY(fill(cursor, error));
    *found = false;
    if (fresh && at_item_end(cursor)) {
        if (!cursor->input->skip_empty) {
            return lh_fail(error, LH_E_FORMAT, "%s is empty",
                           strcmp(item->path, "-") == 0 ? "standard input" : item->path);
        }
        cursor->position.empty++;
        return LH_OK;
    }
    if (item->json) {
        return next_json(cursor, found, error);
    }
    *found = !at_item_end(cursor);
    return LH_OK;
}

/* Reads over what is left of the current document. */
static lh_status leave_document(lh_cursor *cursor, lh_error *error)
{
    unsigned char scratch[8192];
    size_t got;
    while (cursor->inside) {
        LH_TRY(lh_cursor_read(cursor, scratch, sizeof scratch, &got, error));
    }
    return LH_OK;
}

lh_status lh_cursor_next(lh_cursor *cursor, lh_input_document *document, bool *end, lh_error *error)
{
    LH_TRY(leave_document(cursor, error));
    *end = false;
    for (;;) {
        if (cursor->position.item == cursor->input->count) {
            *end = true;
            return LH_OK;
        }
        bool found;
        LH_TRY(next_in_item(cursor, &found, error));
        if (found) {
            break;
        }
        close_item(cursor);
    }
    const lh_input_item *item = current_item(cursor);
    cursor->split = split_here(cursor);
    cursor->inside = true;
    cursor->position.documents++;
    *document = (lh_input_document){
        .name = item->json ? cursor->name.data : item->name,
        .label = item->json ? (cursor->title.data ? cursor->title.data : "") : item->label,
        .split = cursor->split,
    };
    return LH_OK;
}

/* The text that can be given next: from the line's text, or from the file's buffer. */
static lh_status window(lh_cursor *cursor, const unsigned char **from, size_t *size, lh_error *error)
{
    if (current_item(cursor)->json) {
        *from = (const unsigned char *)cursor->text.data + cursor->text_at;
        *size = cursor->text.size - cursor->text_at;
        return LH_OK;
    }
    LH_TRY(fill(cursor, error));
    *from = cursor->buffer + cursor->at;
    *size = cursor->size - cursor->at;
    return LH_OK;
}

static void advance(lh_cursor *cursor, size_t size)
{
    cursor->position.bytes += size;
    if (current_item(cursor)->json) {
        cursor->text_at += size;
        cursor->position.inner += size;
    } else {
        cursor->at += size;
        cursor->position.offset += size;
    }
}

static size_t copy_without_line_feeds(unsigned char *to, const unsigned char *from, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++) {
        to[count] = from[i];
        count += from[i] != '\n';
    }
    return count;
}

lh_status lh_cursor_read(lh_cursor *cursor, void *buffer, size_t capacity, size_t *got, lh_error *error)
{
    *got = 0;
    while (cursor->inside && *got < capacity) {
        const unsigned char *from;
        size_t size;
        LH_TRY(window(cursor, &from, &size, error));
        uint64_t allowed = size > 0 ? bytes_to_cut(cursor, *from) : 0;
        if (allowed == 0) {
            cursor->inside = false;
            if (current_item(cursor)->json && size == 0) {
                finish_line(cursor);
            }
            break;
        }
        size = size < allowed ? size : (size_t)allowed;
        size = size < capacity - *got ? size : capacity - *got;
        unsigned char *to = (unsigned char *)buffer + *got;
        if (cursor->input->drop_line_feeds) {
            *got += copy_without_line_feeds(to, from, size);
        } else {
            memcpy(to, from, size);
            *got += size;
        }
        advance(cursor, size);
    }
    return LH_OK;
}

lh_input_position lh_cursor_position(const lh_cursor *cursor)
{
    return cursor->position;
}

uint64_t lh_cursor_consumed(const lh_cursor *cursor)
{
    return cursor->position.consumed + (cursor->reader ? lh_reader_consumed(cursor->reader) : 0);
}

lh_status lh_cursor_open(lh_cursor **cursor, const lh_input *input, const lh_input_position *from, lh_error *error)
{
    *cursor = NULL;
    lh_cursor *fresh = lh_heap_alloc(sizeof *fresh);
    if (fresh) {
        fresh->input = input;
        fresh->buffer = lh_heap_alloc(CURSOR_BUFFER);
    }
    if (!fresh || !fresh->buffer) {
        lh_cursor_free(fresh);
        return lh_fail(error, LH_E_MEMORY, "no memory to read the input");
    }
    if (from) {
        if (from->item > input->count) {
            lh_cursor_free(fresh);
            return lh_fail(error, LH_E_ARGUMENT, "the input has %zu files, reading was to go on in number %llu",
                           input->count, (unsigned long long)from->item);
        }
        fresh->position = *from;
    }
    *cursor = fresh;
    return LH_OK;
}

void lh_cursor_free(lh_cursor *cursor)
{
    if (!cursor) {
        return;
    }
    lh_reader_free(cursor->reader);
    lh_heap_free(cursor->buffer);
    lh_string_free(&cursor->line);
    lh_string_free(&cursor->text);
    lh_string_free(&cursor->name);
    lh_string_free(&cursor->title);
    lh_heap_free(cursor);
}
