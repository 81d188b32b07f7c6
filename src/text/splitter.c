#include "text/splitter.h"

#include "base/memory.h"
#include "base/text.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#define SLICE ((size_t)64 * 1024)         /* bytes taken in at a time */
#define STEP_LIMIT ((uint32_t)10000000)   /* backtracking steps of one match */
#define HEAP_LIMIT_KIB ((uint32_t)262144) /* memory of one match without machine code */
#define PATTERN_LIMIT ((size_t)64 * 1024) /* characters of an expression */

struct lh_pattern {
    pcre2_code *code;
    char *source;
    size_t context; /* bytes before the start of a match that it may look at */
    bool compiled;  /* to machine code */
};

struct lh_splitter {
    const lh_pattern *patterns[LH_SPLITTER_PATTERNS];
    size_t pattern_count;
    lh_piece_sink sink;
    void *sink_data;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack; /* only once a match has asked for more than the machine's stack */
    unsigned char *buffer;
    size_t capacity, size;
    size_t at;     /* where the next piece starts */
    size_t run;    /* start of the valid run that holds `at`, as far as it is still in the buffer */
    size_t valid;  /* buffer[run .. valid) is valid UTF-8 */
    size_t wanted; /* no use in trying again with fewer bytes than this after `at` */
};

/* ---- patterns ---- */

/* PCRE's \s with Unicode properties also takes U+180E, which is no white space since Unicode 6.3. */
static char *with_white_space_property(const char *source)
{
    lh_string text = {0};
    for (const char *at = source; *at; at++) {
        if (at[0] == '\\' && (at[1] == 's' || at[1] == 'S')) {
            lh_string_print(&text, "\\%c{White_Space}", at[1] == 's' ? 'p' : 'P');
            at++;
        } else if (at[0] == '\\' && at[1]) {
            lh_string_append(&text, at, 2);
            at++;
        } else {
            lh_string_append(&text, at, 1);
        }
    }
    if (text.failed || !text.data) {
        lh_string_free(&text);
        return lh_heap_strdup("");
    }
    return text.data;
}

static pcre2_code *compile_code(const char *source, int *code, PCRE2_SIZE *offset)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) {
        *code = PCRE2_ERROR_NOMEMORY;
        return NULL;
    }
    pcre2_set_max_pattern_length(context, PATTERN_LIMIT);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    /* As in Oniguruma's Ruby syntax, which tokenizer.json files are written for, ^ and $ are about lines. */
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    pcre2_code *result = pcre2_compile((PCRE2_SPTR)source, PCRE2_ZERO_TERMINATED, options, code, offset, context);
    pcre2_compile_context_free(context);
    return result;
}

lh_status lh_pattern_compile(lh_pattern **pattern, const char *source, const char *name, lh_error *error)
{
    *pattern = NULL;
    lh_pattern *fresh = lh_heap_alloc(sizeof *fresh);
    char *text = with_white_space_property(source);
    if (!fresh || !text || !(fresh->source = lh_heap_strdup(source))) {
        lh_heap_free(text);
        lh_pattern_free(fresh);
        return lh_fail(error, LH_E_MEMORY, "no memory for the pattern of %s", name);
    }
    int code = 0;
    PCRE2_SIZE offset = 0;
    fresh->code = compile_code(text, &code, &offset);
    lh_heap_free(text);
    if (!fresh->code) {
        PCRE2_UCHAR reason[256] = "";
        pcre2_get_error_message(code, reason, sizeof reason);
        lh_pattern_free(fresh);
        return lh_fail(error, LH_E_FORMAT,
                       "%s: the pre-tokenizer's pattern \"%.200s\" is no regular expression: %s", name, source,
                       (const char *)reason);
    }
    fresh->compiled = pcre2_jit_compile(fresh->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD) == 0;
    uint32_t behind = 0;
    pcre2_pattern_info(fresh->code, PCRE2_INFO_MAXLOOKBEHIND, &behind);
    /* One character more, so that only the start of a text looks like one. */
    fresh->context = ((size_t)behind + 1) * 4;
    *pattern = fresh;
    return LH_OK;
}

void lh_pattern_free(lh_pattern *pattern)
{
    if (pattern) {
        pcre2_code_free(pattern->code);
        lh_heap_free(pattern->source);
        lh_heap_free(pattern);
    }
}

/* ---- one match ---- */

typedef enum lh_match_result { MATCH_NONE, MATCH_FOUND, MATCH_NEEDS_MORE } lh_match_result;

static lh_status match_failure(const lh_pattern *pattern, int code, lh_error *error)
{
    if (code == PCRE2_ERROR_NOMEMORY) {
        return lh_fail(error, LH_E_MEMORY, "no memory to match the pre-tokenizer's pattern");
    }
    PCRE2_UCHAR reason[256] = "";
    pcre2_get_error_message(code, reason, sizeof reason);
    return lh_fail(error, LH_E_UNSUPPORTED,
                   "the pre-tokenizer's pattern \"%.200s\" cannot be matched on this text: %s", pattern->source,
                   (const char *)reason);
}

/* The first match in subject[from .. size). `open`: more text may follow, and a match that could depend on it is
 * MATCH_NEEDS_MORE. The subject before `from` is context for assertions. */
static lh_status find_match(lh_splitter *splitter, const lh_pattern *pattern, const unsigned char *subject,
                            size_t size, size_t from, bool open, lh_match_result *result, size_t *start,
                            size_t *end, lh_error *error)
{
    uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | (open ? PCRE2_PARTIAL_HARD : 0);
    int code = PCRE2_ERROR_JIT_STACKLIMIT;
    if (pattern->compiled) {
        code = pcre2_jit_match(pattern->code, subject, size, from, options, splitter->match, splitter->limits);
    }
    if (code == PCRE2_ERROR_JIT_STACKLIMIT && pattern->compiled && !splitter->stack) {
        splitter->stack = pcre2_jit_stack_create((size_t)32 * 1024, (size_t)1024 * 1024, NULL);
        pcre2_jit_stack_assign(splitter->limits, NULL, splitter->stack);
        code = pcre2_jit_match(pattern->code, subject, size, from, options, splitter->match, splitter->limits);
    }
    if (code == PCRE2_ERROR_JIT_STACKLIMIT) {
        code = pcre2_match(pattern->code, subject, size, from, options | PCRE2_NO_JIT, splitter->match,
                           splitter->limits);
    }
    if (code == PCRE2_ERROR_NOMATCH || code == PCRE2_ERROR_PARTIAL) {
        *result = code == PCRE2_ERROR_NOMATCH ? MATCH_NONE : MATCH_NEEDS_MORE;
        return LH_OK;
    }
    if (code < 0) {
        return match_failure(pattern, code, error);
    }
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(splitter->match);
    if (range[0] < from || range[1] <= range[0] || range[1] > size) {
        return lh_fail(error, LH_E_UNSUPPORTED, "the pre-tokenizer's pattern \"%.200s\" moves the start of a match",
                       pattern->source);
    }
    *start = range[0];
    *end = range[1];
    *result = MATCH_FOUND;
    return LH_OK;
}

/* ---- whole pieces through the later patterns ---- */

static lh_status emit(lh_splitter *splitter, size_t stage, const unsigned char *bytes, size_t size, lh_error *error)
{
    if (size == 0) {
        return LH_OK;
    }
    if (stage >= splitter->pattern_count) {
        return splitter->sink(splitter->sink_data, bytes, size, error);
    }
    size_t at = 0;
    while (at < size) {
        lh_match_result result;
        size_t start = size, end = size;
        LH_TRY(
            find_match(splitter, splitter->patterns[stage], bytes, size, at, false, &result, &start, &end, error));
        LH_TRY(emit(splitter, stage + 1, bytes + at, start - at, error));
        LH_TRY(emit(splitter, stage + 1, bytes + start, end - start, error));
        at = end;
    }
    return LH_OK;
}

/* ---- the stream ---- */

/* The greatest character border in valid text that is not beyond `at`. */
static size_t border_before(const unsigned char *bytes, size_t at)
{
    while ((bytes[at] & 0xc0) == 0x80) {
        at--;
    }
    return at;
}

/* How many bytes at `at` belong to no valid character. *closed: more text cannot make it more. */
static size_t invalid_span(const lh_splitter *splitter, bool final, bool *closed)
{
    const unsigned char *bytes = splitter->buffer + splitter->at;
    size_t left = splitter->size - splitter->at, size = 0;
    *closed = final;
    while (size < left) {
        int32_t code_point;
        int length = lh_utf8_decode(bytes + size, left - size, &code_point);
        if (length > 0 || size == LH_PRETOKEN_LIMIT) {
            *closed = true;
            break;
        }
        if (length == LH_UTF8_INCOMPLETE && !final) {
            break;
        }
        size++;
    }
    return size;
}

/* The next piece or pieces out of the valid run at `at`. *held: they depend on text that is not here yet. */
static lh_status split_run(lh_splitter *splitter, bool open, bool *held, lh_error *error)
{
    size_t at = splitter->at, end = splitter->valid;
    if (end - at > LH_PRETOKEN_LIMIT) {
        end = border_before(splitter->buffer, at + LH_PRETOKEN_LIMIT);
        open = false;
    }
    lh_match_result result = open ? MATCH_NEEDS_MORE : MATCH_NONE;
    const unsigned char *subject = splitter->buffer + splitter->run;
    size_t match_start = end - splitter->run, match_end = match_start;
    if (splitter->pattern_count > 0) {
        LH_TRY(find_match(splitter, splitter->patterns[0], subject, end - splitter->run, at - splitter->run, open,
                          &result, &match_start, &match_end, error));
    }
    if (open && result != MATCH_FOUND) {
        *held = true;
        return LH_OK;
    }
    splitter->at = splitter->run + match_end;
    LH_TRY(emit(splitter, 1, splitter->buffer + at, splitter->run + match_start - at, error));
    return emit(splitter, 1, subject + match_start, match_end - match_start, error);
}

static lh_status split_available(lh_splitter *splitter, bool final, lh_error *error)
{
    bool held = false;
    while (splitter->at < splitter->size && !held) {
        size_t left = splitter->size - splitter->at;
        if (!final && left < splitter->wanted) {
            break;
        }
        splitter->valid +=
            lh_utf8_valid_prefix(splitter->buffer + splitter->valid, splitter->size - splitter->valid);
        if (splitter->valid == splitter->at) {
            bool closed;
            size_t span = invalid_span(splitter, final, &closed);
            held = !closed;
            if (closed) {
                /* Invalid bytes go past the patterns. */
                splitter->at = splitter->run = splitter->valid = splitter->at + span;
                LH_TRY(splitter->sink(splitter->sink_data, splitter->buffer + splitter->at - span, span, error));
            }
        } else {
            int32_t code_point;
            bool open =
                !final && (splitter->valid == splitter->size ||
                           lh_utf8_decode(splitter->buffer + splitter->valid, splitter->size - splitter->valid,
                                          &code_point) == LH_UTF8_INCOMPLETE);
            LH_TRY(split_run(splitter, open, &held, error));
        }
        /* Doubling keeps the total cost linear when a long piece arrives in small feeds. */
        splitter->wanted = held ? 2 * left : 0;
        if (splitter->wanted > LH_PRETOKEN_LIMIT + 8) {
            splitter->wanted = LH_PRETOKEN_LIMIT + 8;
        }
    }
    return LH_OK;
}

/* Drops what is done, but for the context that assertions may look at. */
static void drop_done(lh_splitter *splitter)
{
    size_t context = splitter->pattern_count ? splitter->patterns[0]->context : 0;
    size_t keep = splitter->run;
    if (splitter->at - keep > context) {
        keep = splitter->at - context;
        while (keep > splitter->run && (splitter->buffer[keep] & 0xc0) == 0x80) {
            keep--;
        }
    }
    if (keep == 0) {
        return;
    }
    memmove(splitter->buffer, splitter->buffer + keep, splitter->size - keep);
    splitter->size -= keep;
    splitter->at -= keep;
    splitter->valid -= keep;
    splitter->run = 0;
}

static lh_status make_room(lh_splitter *splitter, size_t size, lh_error *error)
{
    size_t needed = splitter->size + size;
    if (needed <= splitter->capacity) {
        return LH_OK;
    }
    size_t wanted = needed + needed / 2;
    unsigned char *buffer = lh_heap_realloc(splitter->buffer, wanted);
    if (!buffer) {
        return lh_fail(error, LH_E_MEMORY, "no memory for %zu bytes of text", wanted);
    }
    splitter->buffer = buffer;
    splitter->capacity = wanted;
    return LH_OK;
}

lh_status lh_splitter_feed(lh_splitter *splitter, const unsigned char *bytes, size_t size, lh_error *error)
{
    while (size > 0) {
        size_t slice = size < SLICE ? size : SLICE;
        LH_TRY(make_room(splitter, slice, error));
        memcpy(splitter->buffer + splitter->size, bytes, slice);
        splitter->size += slice;
        bytes += slice;
        size -= slice;
        LH_TRY(split_available(splitter, false, error));
        drop_done(splitter);
    }
    return LH_OK;
}

lh_status lh_splitter_finish(lh_splitter *splitter, lh_error *error)
{
    LH_TRY(split_available(splitter, true, error));
    lh_splitter_reset(splitter);
    return LH_OK;
}

void lh_splitter_reset(lh_splitter *splitter)
{
    splitter->size = splitter->at = splitter->run = splitter->valid = splitter->wanted = 0;
}

lh_status lh_splitter_create(lh_splitter **splitter, const lh_pattern *const *patterns, size_t count,
                             lh_piece_sink sink, void *sink_data, lh_error *error)
{
    *splitter = NULL;
    if (count > LH_SPLITTER_PATTERNS) {
        return lh_fail(error, LH_E_UNSUPPORTED, "a pre-tokenizer of %zu patterns; at most %d are possible", count,
                       LH_SPLITTER_PATTERNS);
    }
    lh_splitter *fresh = lh_heap_alloc(sizeof *fresh);
    if (!fresh) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a text splitter");
    }
    for (size_t i = 0; i < count; i++) {
        fresh->patterns[i] = patterns[i];
    }
    fresh->pattern_count = count;
    fresh->sink = sink;
    fresh->sink_data = sink_data;
    fresh->match = pcre2_match_data_create(1, NULL);
    fresh->limits = pcre2_match_context_create(NULL);
    if (!fresh->match || !fresh->limits) {
        lh_splitter_free(fresh);
        return lh_fail(error, LH_E_MEMORY, "no memory for a text splitter");
    }
    pcre2_set_match_limit(fresh->limits, STEP_LIMIT);
    pcre2_set_heap_limit(fresh->limits, HEAP_LIMIT_KIB);
    *splitter = fresh;
    return LH_OK;
}

void lh_splitter_free(lh_splitter *splitter)
{
    if (splitter) {
        pcre2_match_data_free(splitter->match);
        pcre2_match_context_free(splitter->limits);
        pcre2_jit_stack_free(splitter->stack);
        lh_heap_free(splitter->buffer);
        lh_heap_free(splitter);
    }
}
