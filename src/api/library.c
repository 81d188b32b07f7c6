#include "api/handles.h"

#include "base/memory.h"

#include <string.h>

void longhand_free(void *memory)
{
    lh_heap_free(memory);
}

/* No struct of this interface will ever be as large: a greater size was never set. */
#define ABSURD_SIZE 4096

lh_status lh_api_check(const void *results, const char *name, lh_error *error)
{
    size_t size;
    memcpy(&size, results, sizeof size);
    return size < 2 * sizeof size || size > ABSURD_SIZE
               ? lh_fail(error, LH_E_ARGUMENT, "%s.size is %zu: it must be set to sizeof(%s)", name, size, name)
               : LH_OK;
}

lh_status lh_api_take(void *options, size_t known, const void *given, const char *name, lh_error *error)
{
    size_t size;
    if (!given) {
        return LH_OK;
    }
    LH_TRY(lh_api_check(given, name, error));
    memcpy(&size, given, sizeof size);
    for (size_t i = known; i < size; i++) {
        if (((const unsigned char *)given)[i] != 0) {
            return lh_fail(
                error, LH_E_UNSUPPORTED,
                "the program was compiled for a newer version and sets fields of %s that version %s does "
                "not know",
                name, LH_VERSION);
        }
    }
    memcpy(options, given, size < known ? size : known);
    return LH_OK;
}

void lh_api_give(void *to, const void *results, size_t known)
{
    size_t size;
    memcpy(&size, to, sizeof size);
    size_t end = size < known ? size : known;
    memcpy((char *)to + sizeof size, (const char *)results + sizeof size, end - sizeof size);
}

lh_status lh_api_check_texts(const char *const *texts, size_t count, const char *what, lh_error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (!texts || !texts[i]) {
            return lh_fail(error, LH_E_ARGUMENT, "%s %zu of %zu is NULL", what, i, count);
        }
    }
    return LH_OK;
}

lh_status lh_api_text(lh_string *from, char **text, size_t *size, lh_error *error)
{
    if (!from->failed && !from->data) {
        lh_string_append(from, "", 0); /* an empty text is a text, too */
    }
    if (from->failed || !from->data) {
        lh_string_free(from);
        return lh_fail(error, LH_E_MEMORY, "no memory for a text");
    }
    *text = from->data;
    if (size) {
        *size = from->size;
    }
    return LH_OK;
}
