/* Reads a book with a trained model and prints how many bits a byte of it costs, as it goes on.
 *
 *   cc read_book.c $(pkg-config --cflags --libs longhand) -o read_book
 *   ./read_book runs/book book.txt */
#include <longhand.h>

#include <stdio.h>
#include <stdlib.h>

static int fail(const lh_error *error)
{
    fprintf(stderr, "read_book: %s\n", error->message);
    return error->status;
}

/* A whole file in memory. */
static char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t used = 0, part = 0;
    while (file) {
        char *more = realloc(text, used + (1 << 16));
        if (!more) {
            break;
        }
        text = more;
        part = fread(text + used, 1, 1 << 16, file);
        used += part;
        if (part == 0) {
            fclose(file);
            *size = used;
            return text;
        }
    }
    free(text);
    if (file) {
        fclose(file);
    }
    return NULL;
}

enum { PIECE = 4096 };

static const double bit = 0.69314718055994530942; /* nats: ln 2 */

/* Scores every token behind all tokens before it; memory does not grow with the book. */
static lh_status read_tokens(longhand_session *session, const longhand_tokenizer *tokenizer, const int32_t *ids,
                             size_t count, lh_error *error)
{
    double nats[PIECE], sum = 0.0;
    size_t bytes = 0;
    for (size_t at = 0; at + 1 < count; at += PIECE) {
        size_t part = count - 1 - at < PIECE ? count - 1 - at : PIECE;
        lh_status status = longhand_session_score(session, ids + at, ids + at + 1, (int64_t)part, nats, error);
        if (status != LH_OK) {
            return status;
        }
        for (size_t i = 0; i < part; i++) {
            size_t size;
            longhand_tokenizer_token(tokenizer, ids[at + i + 1], &size);
            bytes += size;
            sum += nats[i];
        }
        printf("%10zu bytes  %.4f bits per byte\n", bytes, sum / bit / (double)bytes);
    }
    return LH_OK;
}

int main(int argc, char **argv)
{
    lh_error error = {LH_OK, ""};
    longhand_model *model = NULL;
    longhand_tokenizer *tokenizer = NULL;
    longhand_session *session = NULL;
    longhand_model_info info = {.size = sizeof info};
    int32_t *ids = NULL;
    size_t size = 0, count = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: read_book RUN BOOK\n");
        return LH_E_ARGUMENT;
    }
    char *text = read_file(argv[2], &size);
    if (!text) {
        perror(argv[2]);
        return LH_E_IO;
    }
    lh_status status = longhand_model_open(&model, argv[1], NULL, &error);
    if (status == LH_OK) {
        status = longhand_model_get_info(model, &info, &error);
    }
    if (status == LH_OK) {
        status = longhand_model_tokenizer(&tokenizer, model, &error);
    }
    if (status == LH_OK) {
        status = longhand_tokenizer_encode(tokenizer, text, size, false, &ids, &count, &error);
    }
    if (status == LH_OK) {
        status = longhand_session_create(&session, model, 1, 0, &error);
    }
    if (status == LH_OK) {
        printf("%s: %lld parameters, memory %s, %lld bytes of state\n", argv[1], (long long)info.parameters,
               info.memory, (long long)longhand_session_state_bytes(session));
        status = read_tokens(session, tokenizer, ids, count, &error);
    }
    longhand_session_free(session);
    longhand_tokenizer_free(tokenizer);
    longhand_model_free(model);
    longhand_free(ids);
    free(text);
    return status == LH_OK ? 0 : fail(&error);
}
