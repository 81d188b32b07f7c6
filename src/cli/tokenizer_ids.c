/* longhand tokenizer encode | decode */
#include "base/file.h"
#include "base/memory.h"
#include "cli/internal.h"
#include "cli/tokenizer.h"
#include "cli/verbs.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Standard output, or a file that is there only when it is complete. */
typedef struct lh_output {
    lh_atomic_file file;
    bool to_file;
} lh_output;

static lh_status output_open(lh_output *output, const char *path, lh_error *error)
{
    *output = (lh_output){.to_file = path && strcmp(path, "-") != 0};
    return output->to_file ? lh_atomic_open(&output->file, path, error) : LH_OK;
}

static lh_status output_write(lh_output *output, const void *bytes, size_t size, lh_error *error)
{
    if (output->to_file) {
        return lh_atomic_write(&output->file, bytes, size, error);
    }
    if (size > 0 && fwrite(bytes, 1, size, stdout) != size) {
        return lh_fail_errno(error, "cannot write to standard output");
    }
    return LH_OK;
}

static lh_status output_close(lh_output *output, lh_status status, lh_error *error)
{
    if (output->to_file && status == LH_OK) {
        return lh_atomic_commit(&output->file, error);
    }
    if (output->to_file) {
        lh_atomic_discard(&output->file);
    }
    return status;
}

typedef enum lh_id_format { FORMAT_TEXT, FORMAT_TOKENS, FORMAT_U16, FORMAT_U32 } lh_id_format;

static lh_id_format format_of(const lh_command *command)
{
    static const char *const names[] = {"text", "tokens", "u16", "u32"};
    const char *given = lh_command_string(command, "format");
    int format = FORMAT_U32;
    while (format > 0 && strcmp(given, names[format]) != 0) {
        format--;
    }
    return (lh_id_format)format;
}

/* ---- encode ---- */

static const lh_option encode_options[] = {
    {"out", 'o', LH_OPTION_STRING, "FILE", "-", "Where to write", NULL},
    {"format", 'f', LH_OPTION_STRING, "FORMAT", "text",
     "Ids as numbers, a line per file; a line per token with its text; or little-endian integers",
     "text|tokens|u16|u32"},
    {"special", 's', LH_OPTION_FLAG, NULL, NULL, "Special tokens written in the text become their ids", NULL},
    {0},
};

typedef struct lh_encoding {
    const lh_tokenizer *tokenizer;
    lh_encoder *encoder;
    lh_output output;
    lh_id_format format;
    lh_ids ids;
    lh_string line;
    bool line_started;
} lh_encoding;

static void append_escaped(lh_string *out, const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] < 0x20 || bytes[i] >= 0x7f || bytes[i] == '\\') {
            lh_string_print(out, "\\x%02x", (unsigned)bytes[i]);
        } else {
            lh_string_append(out, bytes + i, 1);
        }
    }
}

static void append_id(lh_encoding *encoding, int32_t id)
{
    size_t size;
    const unsigned char *bytes;
    unsigned char integer[4] = {(unsigned char)id, (unsigned char)(id >> 8), (unsigned char)(id >> 16),
                                (unsigned char)(id >> 24)};
    switch (encoding->format) {
    case FORMAT_TEXT:
        lh_string_print(&encoding->line, "%s%" PRId32, encoding->line_started ? " " : "", id);
        encoding->line_started = true;
        break;
    case FORMAT_TOKENS:
        bytes = lh_tokenizer_token(encoding->tokenizer, id, &size);
        lh_string_print(&encoding->line, "%" PRId32 "\t", id);
        append_escaped(&encoding->line, bytes, size);
        lh_string_append(&encoding->line, "\n", 1);
        break;
    case FORMAT_U16: lh_string_append(&encoding->line, integer, 2); break;
    case FORMAT_U32: lh_string_append(&encoding->line, integer, 4); break;
    }
}

static lh_status write_ids(lh_encoding *encoding, lh_error *error)
{
    for (size_t i = 0; i < encoding->ids.size; i++) {
        append_id(encoding, encoding->ids.data[i]);
    }
    lh_ids_clear(&encoding->ids);
    if (encoding->line.failed) {
        return lh_fail(error, LH_E_MEMORY, "no memory to write token ids");
    }
    lh_status status = output_write(&encoding->output, encoding->line.data, encoding->line.size, error);
    lh_string_clear(&encoding->line);
    return status;
}

static lh_status encode_piece(void *data, const void *bytes, size_t size, lh_error *error)
{
    lh_encoding *encoding = data;
    LH_TRY(lh_encoder_feed(encoding->encoder, bytes, size, &encoding->ids, error));
    return write_ids(encoding, error);
}

static lh_status encode_end(void *data, lh_error *error)
{
    lh_encoding *encoding = data;
    LH_TRY(lh_encoder_finish(encoding->encoder, &encoding->ids, error));
    LH_TRY(write_ids(encoding, error));
    encoding->line_started = false;
    return encoding->format == FORMAT_TEXT ? output_write(&encoding->output, "\n", 1, error) : LH_OK;
}

static lh_status encode_all(const lh_command *command, lh_encoding *encoding, lh_error *error)
{
    unsigned flags = lh_command_flag(command, "special") ? LH_ENCODE_SPECIAL : 0;
    lh_inputs inputs;
    LH_TRY(lh_encoder_create(&encoding->encoder, encoding->tokenizer, flags, error));
    LH_TRY(lh_inputs_open(&inputs, command, 1, error));
    lh_status status = output_open(&encoding->output, lh_command_string(command, "out"), error);
    if (status == LH_OK) {
        lh_input_sink sink = {encode_piece, encode_end, encoding};
        status = lh_inputs_read(&inputs, "encode", &sink, error);
        status = output_close(&encoding->output, status, error);
    }
    lh_inputs_free(&inputs);
    return status;
}

static lh_status run_encode(const lh_command *command, lh_error *error)
{
    lh_tokenizer *tokenizer;
    LH_TRY(lh_tokenizer_open(&tokenizer, lh_command_operand(command, 0), error));
    lh_encoding encoding = {.tokenizer = tokenizer, .format = format_of(command)};
    lh_status status;
    if (encoding.format == FORMAT_U16 && lh_tokenizer_vocab_size(tokenizer) > 65536) {
        status = lh_fail(error, LH_E_ARGUMENT, "--format u16 has no place for the ids of a vocabulary of %" PRId32,
                         lh_tokenizer_vocab_size(tokenizer));
    } else {
        status = encode_all(command, &encoding, error);
    }
    lh_encoder_free(encoding.encoder);
    lh_ids_free(&encoding.ids);
    lh_string_free(&encoding.line);
    lh_tokenizer_free(tokenizer);
    return status;
}

const lh_verb lh_verb_tokenizer_encode = {
    .name = "tokenizer encode",
    .summary = "Turn text into token ids",
    .operands = "TOKENIZER [FILE...]",
    .description = "Reads standard input or text files (plain or compressed; a directory stands for its files) and "
                   "writes the ids of their tokens. Texts of any length need little memory.",
    .examples = "echo 'A long book.' | longhand tokenizer encode books.json\n    the ids on one line\n"
                "longhand tokenizer encode books.json --format tokens book.txt | head\n    how a book is cut",
    .min_operands = 1,
    .max_operands = -1,
    .options = encode_options,
    .run = run_encode,
};

/* ---- decode ---- */

static const lh_option decode_options[] = {
    {"out", 'o', LH_OPTION_STRING, "FILE", "-", "Where to write", NULL},
    {"format", 'f', LH_OPTION_STRING, "FORMAT", "text", "How the ids come: numbers, or little-endian integers",
     "text|u16|u32"},
    {"skip-special", 's', LH_OPTION_FLAG, NULL, NULL, "Special tokens give no text", NULL},
    {0},
};

typedef struct lh_decoding {
    lh_decoder *decoder;
    lh_output output;
    lh_id_format format;
    lh_string text;
    uint64_t offset; /* of the next byte of input */
    uint64_t value;  /* of the id that is being read */
    unsigned have;   /* its digits or bytes so far */
} lh_decoding;

static lh_status decode_value(lh_decoding *decoding, lh_error *error)
{
    uint64_t value = decoding->value;
    decoding->value = 0;
    decoding->have = 0;
    if (value > INT32_MAX) {
        return lh_fail(error, LH_E_FORMAT, "the id before byte %" PRIu64 " of the input, %" PRIu64 ", is too great",
                       decoding->offset, value);
    }
    return lh_decoder_feed(decoding->decoder, (int32_t)value, &decoding->text, error);
}

static lh_status decode_digit(lh_decoding *decoding, unsigned char byte, lh_error *error)
{
    if (isdigit(byte)) {
        /* A number that is too great stays so. */
        decoding->value = decoding->value > UINT32_MAX ? decoding->value : decoding->value * 10 + (byte - '0');
        decoding->have++;
        return LH_OK;
    }
    if (!isspace(byte) && byte != ',') {
        return lh_fail(error, LH_E_FORMAT, "byte %" PRIu64 " of the input, 0x%02x, belongs to no number",
                       decoding->offset, (unsigned)byte);
    }
    return decoding->have > 0 ? decode_value(decoding, error) : LH_OK;
}

static lh_status decode_piece(void *data, const void *bytes, size_t size, lh_error *error)
{
    lh_decoding *decoding = data;
    const unsigned char *from = bytes;
    unsigned width = decoding->format == FORMAT_U16 ? 2 : 4;
    for (size_t i = 0; i < size; i++, decoding->offset++) {
        if (decoding->format == FORMAT_TEXT) {
            LH_TRY(decode_digit(decoding, from[i], error));
            continue;
        }
        decoding->value |= (uint64_t)from[i] << (8 * decoding->have++);
        if (decoding->have == width) {
            LH_TRY(decode_value(decoding, error));
        }
    }
    lh_status status = output_write(&decoding->output, decoding->text.data, decoding->text.size, error);
    lh_string_clear(&decoding->text);
    return status;
}

static lh_status decode_end(void *data, lh_error *error)
{
    lh_decoding *decoding = data;
    if (decoding->have > 0 && decoding->format != FORMAT_TEXT) {
        return lh_fail(error, LH_E_FORMAT, "the input ends inside an id, at byte %" PRIu64, decoding->offset);
    }
    if (decoding->have > 0) {
        LH_TRY(decode_value(decoding, error));
    }
    LH_TRY(lh_decoder_finish(decoding->decoder, &decoding->text, error));
    decoding->offset = 0;
    lh_status status = output_write(&decoding->output, decoding->text.data, decoding->text.size, error);
    lh_string_clear(&decoding->text);
    return status;
}

static lh_status run_decode(const lh_command *command, lh_error *error)
{
    lh_tokenizer *tokenizer;
    LH_TRY(lh_tokenizer_open(&tokenizer, lh_command_operand(command, 0), error));
    lh_decoding decoding = {.format = format_of(command)};
    lh_inputs inputs = {0};
    unsigned flags = lh_command_flag(command, "skip-special") ? LH_DECODE_SKIP_SPECIAL : 0;
    lh_status status = lh_decoder_create(&decoding.decoder, tokenizer, flags, error);
    status = status == LH_OK ? lh_inputs_open(&inputs, command, 1, error) : status;
    status = status == LH_OK ? output_open(&decoding.output, lh_command_string(command, "out"), error) : status;
    if (status == LH_OK) {
        lh_input_sink sink = {decode_piece, decode_end, &decoding};
        status = lh_inputs_read(&inputs, "decode", &sink, error);
        status = output_close(&decoding.output, status, error);
    }
    lh_inputs_free(&inputs);
    lh_decoder_free(decoding.decoder);
    lh_string_free(&decoding.text);
    lh_tokenizer_free(tokenizer);
    return status;
}

const lh_verb lh_verb_tokenizer_decode = {
    .name = "tokenizer decode",
    .summary = "Turn token ids into text",
    .operands = "TOKENIZER [FILE...]",
    .description = "Reads ids from standard input or files, as numbers parted by white space or commas or as "
                   "little-endian integers, and writes the text that they stand for.",
    .examples =
        "longhand tokenizer encode books.json book.txt | longhand tokenizer decode books.json | cmp - book.txt\n"
        "    there and back: silent if every byte is the same",
    .min_operands = 1,
    .max_operands = -1,
    .options = decode_options,
    .run = run_decode,
};
