/* longhand: models over long context.
 *
 * The public interface. Everything is an opaque handle; every call that can fail returns an lh_status and, if the
 * caller passes an lh_error, one sentence that names the file, key, offset or shape at fault.
 *
 * Ownership: a function named *_create or *_open gives the caller a handle, to be released with the matching
 * *_free. Strings returned through const char * belong to the handle they came from.
 * Threads: handles share no mutable state. One handle is used by one thread at a time; different handles may be
 * used by different threads at once. */
#ifndef LONGHAND_H
#define LONGHAND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LH_VERSION_MAJOR 0
#define LH_VERSION_MINOR 1
#define LH_VERSION_PATCH 0
#define LH_VERSION "0.1.0"

#if defined(__GNUC__)
#define LH_API __attribute__((visibility("default")))
#else
#define LH_API
#endif

/* What went wrong, by kind. The command's exit code is the status's number. */
typedef enum lh_status {
    LH_OK = 0,
    LH_E_INTERNAL = 1,     /* a fault of the library itself */
    LH_E_ARGUMENT = 2,     /* a call or a command line that makes no sense */
    LH_E_SHAPE = 3,        /* tensors whose shapes do not fit */
    LH_E_MEMORY = 4,       /* no memory */
    LH_E_IO = 5,           /* the operating system refused: open, read, write, full disk */
    LH_E_FORMAT = 6,       /* a file is truncated, damaged or not of the expected kind */
    LH_E_CONFIG = 7,       /* a recipe or a model configuration with an unknown key or an impossible value */
    LH_E_NUMERIC = 8,      /* NaN or infinity where a number must be */
    LH_E_INTERRUPTED = 9,  /* stopped by a signal, after saving */
    LH_E_UNSUPPORTED = 10, /* legal, but not built in or not possible with this model */
    LH_E_NETWORK = 11,     /* a download failed */
} lh_status;

/* The first failure of a call. Zero-initialise it; the library never overwrites a message that is set. */
typedef struct lh_error {
    lh_status status;
    char message[1024];
} lh_error;

/* A short English name of a status, such as "format error". Never NULL. */
LH_API const char *lh_status_name(lh_status status);

/* The library's version, such as "0.1.0". */
LH_API const char *lh_version(void);

#ifdef __cplusplus
}
#endif
#endif
