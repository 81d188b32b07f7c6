#include "formats/append_file.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static lh_status examine(lh_append_file *file, lh_error *error)
{
    struct stat about;
    if (fstat(file->descriptor, &about) != 0) {
        return lh_fail_errno(error, "cannot examine %s", file->path);
    }
    file->size = (int64_t)about.st_size;
    return LH_OK;
}

lh_status lh_append_open(lh_append_file *file, const char *path, bool must_be_new, lh_error *error)
{
    *file = (lh_append_file){.descriptor = -1};
    file->path = lh_heap_strdup(path);
    if (!file->path) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %s", path);
    }
    file->descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (must_be_new ? O_EXCL : 0), 0666);
    lh_status status =
        file->descriptor < 0 ? lh_fail_errno(error, "cannot open %s for appending", path) : examine(file, error);
    if (status != LH_OK) {
        lh_append_close(file);
    }
    return status;
}

lh_status lh_append_truncate(lh_append_file *file, int64_t size, lh_error *error)
{
    if (ftruncate(file->descriptor, (off_t)size) != 0) {
        return lh_fail_errno(error, "cannot cut %s to %lld bytes", file->path, (long long)size);
    }
    file->size = size;
    file->torn = false;
    return LH_OK;
}

lh_status lh_append_write(lh_append_file *file, const void *data, size_t bytes, lh_error *error)
{
    if (file->torn) {
        LH_TRY(lh_append_truncate(file, file->size, error));
    }
    const char *at = data;
    for (size_t left = bytes; left > 0;) {
        ssize_t written = write(file->descriptor, at, left);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            lh_status status = lh_fail_errno(error, "cannot append %zu bytes to %s", bytes, file->path);
            file->torn = true;
            (void)lh_append_truncate(file, file->size, NULL);
            return status;
        }
        at += written;
        left -= (size_t)written;
    }
    file->size += (int64_t)bytes;
    return LH_OK;
}

void lh_append_close(lh_append_file *file)
{
    if (file->descriptor >= 0) {
        (void)close(file->descriptor);
    }
    lh_heap_free(file->path);
    *file = (lh_append_file){.descriptor = -1};
}
