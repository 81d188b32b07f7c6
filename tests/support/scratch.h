/* Scratch folders for tests: made in the system's temporary place, removed with everything in them. */
#ifndef LH_TESTS_SCRATCH_H
#define LH_TESTS_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static inline int scratch_remove_entry(const char *path, const struct stat *about, int kind, struct FTW *place)
{
    (void)about;
    (void)place;
    if (kind == FTW_DNR) {
        (void)chmod(path, 0700);
    }
    return remove(path);
}

static inline void scratch_remove(const char *folder)
{
    (void)nftw(folder, scratch_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Makes a folder, in memory if there is such a place, because many tests sync often; `folder` has room for 64
 * bytes. Returns 0, or -1. */
static inline int scratch_make(char *folder)
{
    const char *place = getenv("TMPDIR");
    if (!place || strlen(place) > 30) {
        place = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    }
    (void)snprintf(folder, 64, "%s/longhand-test-XXXXXX", place);
    return mkdtemp(folder) ? 0 : -1;
}

static inline int scratch_write(const char *path, const void *data, size_t size)
{
    FILE *stream = fopen(path, "wb");
    if (!stream) {
        return -1;
    }
    size_t written = size > 0 ? fwrite(data, 1, size, stream) : 0;
    return fclose(stream) == 0 && written == size ? 0 : -1;
}

/* The whole file in malloc'ed memory with a NUL behind it, or NULL. */
static inline char *scratch_read(const char *path, size_t *size)
{
    FILE *stream = fopen(path, "rb");
    *size = 0;
    if (!stream) {
        return NULL;
    }
    char *data = NULL;
    size_t used = 0, part = 0;
    do {
        used += part;
        data = realloc(data, used + 65537);
        part = fread(data + used, 1, 65536, stream);
    } while (part > 0);
    (void)fclose(stream);
    data[used] = '\0';
    *size = used;
    return data;
}

/* The folder with the shared real data, or NULL: $LH_DATA, else ../shared/data beside the repository. */
static inline const char *scratch_real_data(void)
{
    const char *place = getenv("LH_DATA");
    if (!place || !*place) {
        place = "../shared/data";
    }
    return access(place, R_OK) == 0 ? place : NULL;
}

#endif
