/* Errors are values: the first failure wins and carries one sentence. */
#ifndef LH_BASE_ERROR_H
#define LH_BASE_ERROR_H

#include "longhand.h"

#if defined(__GNUC__)
#define LH_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#else
#define LH_PRINTF(format_index, first_argument)
#endif

/* Records a failure in `error` unless one is there already, and returns `status`. `error` may be NULL. */
lh_status lh_fail(lh_error *error, lh_status status, const char *format, ...) LH_PRINTF(3, 4);

/* As lh_fail, with ": <strerror(errno)>" appended. Reads errno first. Maps ENOMEM to LH_E_MEMORY. */
lh_status lh_fail_errno(lh_error *error, const char *format, ...) LH_PRINTF(2, 3);

#ifdef __clang_analyzer__
/* The static analyzer sees one file at a time and cannot know that a failure never returns LH_OK. It does not look
 * into variadic functions either, so the text is handed over as one number. */
#include <stdio.h>
static inline lh_status lh_analyzer_fail(lh_error *error, lh_status status, int text_size)
{
    (void)error, (void)text_size;
    return status;
}
#define lh_fail(error, status, ...) lh_analyzer_fail(error, status, snprintf(NULL, 0, __VA_ARGS__))
#define lh_fail_errno(error, ...) lh_analyzer_fail(error, LH_E_IO, snprintf(NULL, 0, __VA_ARGS__))
#endif

/* Leaves the function with the status of `expression` if that is not LH_OK. */
#define LH_TRY(expression)                       \
    do {                                         \
        lh_status lh_try_status_ = (expression); \
        if (lh_try_status_ != LH_OK) {           \
            return lh_try_status_;               \
        }                                        \
    } while (0)

#endif
