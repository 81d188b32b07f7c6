/* Any bytes as a file of text, packed or not, read as one document, as JSON Lines and as a list of books. Reading
 * again from the middle gives the rest. The first byte chooses what it is read as. */
#include "data/input.h"
#include "data/pg19.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct digest {
    uint64_t documents, bytes, sum;
} digest;

/* Reads to the end; `positions` gets the place after the first document. */
static lh_status read_rest(const lh_input *input, const lh_input_position *from, digest *found,
                           lh_input_position *after_first, lh_error *error)
{
    lh_cursor *cursor;
    *found = (digest){0};
    LH_TRY(lh_cursor_open(&cursor, input, from, error));
    lh_status status = LH_OK;
    bool end = false;
    while (status == LH_OK && !end && found->bytes < (1u << 22)) {
        lh_input_document document;
        status = lh_cursor_next(cursor, &document, &end, error);
        unsigned char buffer[4096];
        size_t got = sizeof buffer;
        while (status == LH_OK && !end && got == sizeof buffer) {
            status = lh_cursor_read(cursor, buffer, sizeof buffer, &got, error);
            for (size_t i = 0; i < got; i++) {
                found->sum = found->sum * 31 + buffer[i];
            }
            found->bytes += got;
        }
        if (status == LH_OK && !end && found->documents++ == 0) {
            *after_first = lh_cursor_position(cursor);
        }
    }
    lh_cursor_free(cursor);
    return status;
}

static void read_documents(const char *path, const char *layout)
{
    lh_input_options options = {.layout = layout, .split = "1/1"};
    lh_input *input;
    lh_error error = {0};
    if (lh_input_open(&input, path, &options, NULL, NULL, &error) != LH_OK) {
        if (!error.message[0]) {
            abort();
        }
        return;
    }
    digest whole, rest;
    lh_input_position middle = {0}, unused;
    lh_status status = read_rest(input, NULL, &whole, &middle, &error);
    if (status == LH_OK && whole.documents > 0 && whole.bytes < (1u << 22)) {
        if (read_rest(input, &middle, &rest, &unused, &error) != LH_OK || rest.documents + 1 != whole.documents ||
            rest.bytes + middle.bytes != whole.bytes) {
            abort();
        }
    }
    lh_input_free(input);
}

static void read_books(const char *path)
{
    lh_pg19_metadata metadata;
    lh_error error = {0};
    if (lh_pg19_metadata_read(&metadata, path, &error) == LH_OK) {
        for (size_t i = 0; i < metadata.count; i++) {
            if (lh_pg19_find(&metadata, metadata.books[i].id) != &metadata.books[i]) {
                abort();
            }
        }
        lh_pg19_metadata_free(&metadata);
    } else if (!error.message[0]) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || size == 0 || write(fd, data + 1, size - 1) != (ssize_t)size - 1) {
        (void)close(fd);
        return 0;
    }
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    switch (data[0] % 3) {
    case 0: read_documents(path, "text"); break;
    case 1: read_documents(path, "jsonl"); break;
    default: read_books(path); break;
    }
    (void)close(fd);
    return 0;
}
