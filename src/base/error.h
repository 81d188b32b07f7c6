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

/* Leaves the function with the status of `expression` if that is not LH_OK. */
#define LH_TRY(expression)                       \
    do {                                         \
        lh_status lh_try_status_ = (expression); \
        if (lh_try_status_ != LH_OK) {           \
            return lh_try_status_;               \
        }                                        \
    } while (0)

#endif
