#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef __clang_analyzer__
#undef lh_fail
#undef lh_fail_errno
#endif

const char *lh_status_name(lh_status status)
{
    switch (status) {
    case LH_OK: return "ok";
    case LH_E_INTERNAL: return "internal error";
    case LH_E_ARGUMENT: return "argument error";
    case LH_E_SHAPE: return "shape error";
    case LH_E_MEMORY: return "out of memory";
    case LH_E_IO: return "input/output error";
    case LH_E_FORMAT: return "format error";
    case LH_E_CONFIG: return "configuration error";
    case LH_E_NUMERIC: return "numeric error";
    case LH_E_INTERRUPTED: return "interrupted";
    case LH_E_UNSUPPORTED: return "unsupported";
    case LH_E_NETWORK: return "network error";
    }
    return "unknown status";
}

const char *lh_version(void)
{
    return LH_VERSION;
}

lh_status lh_fail(lh_error *error, lh_status status, const char *format, ...)
{
    if (error && error->status == LH_OK) {
        va_list arguments;
        va_start(arguments, format);
        error->status = status;
        (void)vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

lh_status lh_fail_errno(lh_error *error, const char *format, ...)
{
    int code = errno;
    lh_status status = code == ENOMEM ? LH_E_MEMORY : LH_E_IO;
    if (error && error->status == LH_OK) {
        va_list arguments;
        va_start(arguments, format);
        error->status = status;
        int used = vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        if (used >= 0 && (size_t)used < sizeof error->message) {
            (void)snprintf(error->message + used, sizeof error->message - (size_t)used, ": %s", strerror(code));
        }
    }
    return status;
}
