#include "base/file.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Opens for reading and refuses directories, whose read() fails later with a less helpful sentence. */
static lh_status open_for_reading(const char *path, int *descriptor, struct stat *about, lh_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return lh_fail_errno(error, "cannot open %s", path);
    }
    if (fstat(fd, about) != 0) {
        lh_status status = lh_fail_errno(error, "cannot examine %s", path);
        (void)close(fd);
        return status;
    }
    if (S_ISDIR(about->st_mode)) {
        (void)close(fd);
        return lh_fail(error, LH_E_IO, "cannot read %s: it is a directory, a file was expected", path);
    }
    *descriptor = fd;
    return LH_OK;
}

lh_status lh_mapping_open(lh_mapping *mapping, const char *path, lh_error *error)
{
    static const unsigned char nothing[1];
    *mapping = (lh_mapping){0};
    struct stat about;
    int fd = -1;
    LH_TRY(open_for_reading(path, &fd, &about, error));
    lh_status status = LH_OK;
    if (!S_ISREG(about.st_mode)) {
        status = lh_fail(error, LH_E_IO, "cannot map %s: it is not a regular file", path);
    } else if ((uintmax_t)about.st_size > SIZE_MAX) {
        status = lh_fail(error, LH_E_IO, "cannot map %s: %jd bytes do not fit into the address space", path,
                         (intmax_t)about.st_size);
    } else if (about.st_size == 0) {
        mapping->data = nothing;
    } else {
        void *data = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = lh_fail_errno(error, "cannot map %s", path);
        } else {
            mapping->data = data;
            mapping->size = (size_t)about.st_size;
        }
    }
    (void)close(fd);
    return status;
}

void lh_mapping_close(lh_mapping *mapping)
{
    if (mapping->size > 0) {
        (void)munmap((void *)(uintptr_t)mapping->data, mapping->size);
    }
    *mapping = (lh_mapping){0};
}

/* Reads to the end of the file into a growing buffer: the size that fstat reports is a hint only, since pipes and
 * files of /proc have none and a file may grow meanwhile. */
static lh_status read_all(int fd, const char *path, size_t hint, size_t limit, char **text, size_t *size,
                          lh_error *error)
{
    size_t capacity = hint + 1, used = 0;
    char *buffer = lh_heap_alloc(capacity + 1);
    if (!buffer) {
        return lh_fail(error, LH_E_MEMORY, "no memory to read %s (%zu bytes)", path, hint);
    }
    lh_status status = LH_OK;
    for (;;) {
        if (used == capacity) {
            size_t wider = capacity < 4096 ? 8192 : capacity * 2;
            char *grown = wider > capacity ? lh_heap_realloc(buffer, wider + 1) : NULL;
            if (!grown) {
                status = lh_fail(error, LH_E_MEMORY, "no memory to read %s (more than %zu bytes)", path, used);
                break;
            }
            buffer = grown;
            capacity = wider;
        }
        ssize_t count = read(fd, buffer + used, capacity - used);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            status = lh_fail_errno(error, "cannot read %s at byte %zu", path, used);
            break;
        }
        if (count == 0) {
            break;
        }
        used += (size_t)count;
        if (limit > 0 && used > limit) {
            status =
                lh_fail(error, LH_E_FORMAT, "%s is larger than the %zu bytes that are allowed here", path, limit);
            break;
        }
    }
    if (status != LH_OK) {
        lh_heap_free(buffer);
        return status;
    }
    buffer[used] = '\0';
    *text = buffer;
    if (size) {
        *size = used;
    }
    return LH_OK;
}

lh_status lh_file_read(const char *path, size_t limit, char **text, size_t *size, lh_error *error)
{
    *text = NULL;
    struct stat about;
    int fd = -1;
    LH_TRY(open_for_reading(path, &fd, &about, error));
    lh_status status = LH_OK;
    uintmax_t length = S_ISREG(about.st_mode) ? (uintmax_t)about.st_size : 0;
    if (limit > 0 && length > limit) {
        status = lh_fail(error, LH_E_FORMAT, "%s has %ju bytes, at most %zu are allowed here", path, length, limit);
    } else if (length > SIZE_MAX / 4) {
        status = lh_fail(error, LH_E_MEMORY, "no memory to read %s (%ju bytes)", path, length);
    } else {
        status = read_all(fd, path, (size_t)length, limit, text, size, error);
    }
    (void)close(fd);
    return status;
}

/* A symbolic link is followed, so that its target is what gets replaced; a file that is not there yet keeps its
 * name. */
static char *final_path(const char *path)
{
    char *real = realpath(path, NULL);
    char *copy = lh_heap_strdup(real ? real : path);
    free(real);
    return copy;
}

static void atomic_release(lh_atomic_file *file)
{
    lh_heap_free(file->path);
    lh_heap_free(file->temporary);
    *file = (lh_atomic_file){0};
}

/* Creates a new file beside `path`. The name says whose it is and cannot meet another writer's. */
static int create_temporary(const char *path, char *name, size_t name_size, mode_t mode)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        struct timespec now;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        (void)snprintf(name, name_size, "%s.tmp-%ld-%09ld", path, (long)getpid(), (long)now.tv_nsec);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd >= 0 || errno != EEXIST) {
            return fd;
        }
    }
    return -1;
}

lh_status lh_atomic_open(lh_atomic_file *file, const char *path, lh_error *error)
{
    *file = (lh_atomic_file){0};
    struct stat about;
    bool there = stat(path, &about) == 0;
    if (there && S_ISDIR(about.st_mode)) {
        return lh_fail(error, LH_E_IO, "cannot write %s: it is a directory, a file was expected", path);
    }
    file->path = final_path(path);
    if (!file->path) {
        return lh_fail(error, LH_E_MEMORY, "no memory to open %s", path);
    }
    int fd;
    if (there && !S_ISREG(about.st_mode)) {
        /* A device or a pipe cannot be replaced by a rename: it is written straight. */
        fd = open(file->path, O_WRONLY | O_CLOEXEC);
    } else {
        size_t name_size = strlen(file->path) + 64;
        file->temporary = lh_heap_alloc(name_size);
        if (!file->temporary) {
            atomic_release(file);
            return lh_fail(error, LH_E_MEMORY, "no memory to open %s", path);
        }
        fd = create_temporary(file->path, file->temporary, name_size, there ? about.st_mode & 0777 : 0666);
    }
    if (fd < 0) {
        lh_status status = lh_fail_errno(error, "cannot create %s", path);
        atomic_release(file);
        return status;
    }
    file->stream = fdopen(fd, "wb");
    if (!file->stream) {
        lh_status status = lh_fail_errno(error, "cannot create %s", path);
        (void)close(fd);
        lh_atomic_discard(file);
        return status;
    }
    return LH_OK;
}

lh_status lh_atomic_write(lh_atomic_file *file, const void *data, size_t bytes, lh_error *error)
{
    if (!file->stream) {
        return lh_fail(error, LH_E_INTERNAL, "write to an atomic file that is not open");
    }
    if (bytes > 0 && fwrite(data, 1, bytes, file->stream) != bytes) {
        return lh_fail_errno(error, "cannot write %zu bytes to %s", bytes, file->path);
    }
    return LH_OK;
}

/* The rename itself must survive a power cut. File systems that cannot sync a directory say EINVAL. */
static lh_status sync_directory_of(const char *path, lh_error *error)
{
    char *directory = lh_heap_strdup(path);
    if (!directory) {
        return lh_fail(error, LH_E_MEMORY, "no memory to write %s", path);
    }
    char *slash = strrchr(directory, '/');
    const char *name = ".";
    if (slash == directory) {
        name = "/";
    } else if (slash) {
        *slash = '\0';
        name = directory;
    }
    lh_status status = LH_OK;
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        if (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP) {
            status = lh_fail_errno(error, "cannot sync the directory of %s", path);
        }
        (void)close(fd);
    }
    lh_heap_free(directory);
    return status;
}

lh_status lh_atomic_commit(lh_atomic_file *file, lh_error *error)
{
    if (!file->stream) {
        return lh_fail(error, LH_E_INTERNAL, "commit of an atomic file that is not open");
    }
    lh_status status = LH_OK;
    /* A stream whose earlier write failed must not replace the old file, even if the rest can be flushed now. */
    if (ferror(file->stream)) {
        status = lh_fail(error, LH_E_IO, "cannot write %s: an earlier write failed", file->path);
    } else if (fflush(file->stream) != 0) {
        status = lh_fail_errno(error, "cannot write %s", file->path);
    } else if (file->temporary && fsync(fileno(file->stream)) != 0 && errno != EINVAL) {
        status = lh_fail_errno(error, "cannot sync %s", file->path);
    }
    if (fclose(file->stream) != 0 && status == LH_OK) {
        status = lh_fail_errno(error, "cannot close %s", file->path);
    }
    file->stream = NULL;
    if (status == LH_OK && file->temporary) {
        if (rename(file->temporary, file->path) != 0) {
            status = lh_fail_errno(error, "cannot replace %s", file->path);
        } else {
            lh_heap_free(file->temporary);
            file->temporary = NULL;
            status = sync_directory_of(file->path, error);
        }
    }
    lh_atomic_discard(file);
    return status;
}

void lh_atomic_discard(lh_atomic_file *file)
{
    if (file->stream) {
        (void)fclose(file->stream);
    }
    if (file->temporary) {
        (void)unlink(file->temporary);
    }
    atomic_release(file);
}

lh_status lh_file_write(const char *path, const void *data, size_t bytes, lh_error *error)
{
    lh_atomic_file file;
    LH_TRY(lh_atomic_open(&file, path, error));
    lh_status status = lh_atomic_write(&file, data, bytes, error);
    if (status != LH_OK) {
        lh_atomic_discard(&file);
        return status;
    }
    return lh_atomic_commit(&file, error);
}

bool lh_file_exists(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && !S_ISDIR(about.st_mode);
}

bool lh_directory_exists(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

lh_status lh_directory_create(const char *path, lh_error *error)
{
    if (*path == '\0') {
        return lh_fail(error, LH_E_ARGUMENT, "cannot create a directory with an empty name");
    }
    char *partial = lh_heap_strdup(path);
    if (!partial) {
        return lh_fail(error, LH_E_MEMORY, "no memory to create %s", path);
    }
    lh_status status = LH_OK;
    for (char *at = partial + 1; status == LH_OK; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        char separator = *at;
        *at = '\0';
        if (mkdir(partial, 0777) != 0) {
            int code = errno;
            if (!lh_directory_exists(partial)) {
                errno = code;
                status = lh_fail_errno(error, "cannot create the directory %s", partial);
            }
        }
        *at = separator;
        if (separator == '\0') {
            break;
        }
    }
    lh_heap_free(partial);
    return status;
}

char *lh_path_join(const char *directory, const char *name)
{
    size_t directory_size = strlen(directory), name_size = strlen(name);
    bool slash = directory_size > 0 && directory[directory_size - 1] != '/';
    char *path = lh_heap_alloc(directory_size + slash + name_size + 1);
    if (path) {
        memcpy(path, directory, directory_size);
        if (slash) {
            path[directory_size] = '/';
        }
        memcpy(path + directory_size + slash, name, name_size + 1);
    }
    return path;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static lh_status list_entries(DIR *directory, const char *path, char ***list, size_t *count, lh_error *error)
{
    size_t capacity = 0, used = 0;
    char **names = NULL;
    lh_status status = LH_OK;
    for (;;) {
        if (used + 1 >= capacity) {
            capacity = capacity ? capacity * 2 : 64;
            char **grown = lh_heap_realloc(names, capacity * sizeof *names);
            if (!grown) {
                status = lh_fail(error, LH_E_MEMORY, "no memory to list %s", path);
                break;
            }
            names = grown;
            names[used] = NULL;
        }
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry) {
            if (errno != 0) {
                status = lh_fail_errno(error, "cannot list %s", path);
            }
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        names[used] = lh_heap_strdup(entry->d_name);
        if (!names[used]) {
            status = lh_fail(error, LH_E_MEMORY, "no memory to list %s", path);
            break;
        }
        names[++used] = NULL;
    }
    if (status != LH_OK) {
        lh_name_list_free(names);
        return status;
    }
    qsort(names, used, sizeof *names, compare_names);
    *list = names;
    if (count) {
        *count = used;
    }
    return LH_OK;
}

lh_status lh_directory_list(const char *path, char ***names, size_t *count, lh_error *error)
{
    *names = NULL;
    DIR *directory = opendir(path);
    if (!directory) {
        return lh_fail_errno(error, "cannot list the directory %s", path);
    }
    lh_status status = list_entries(directory, path, names, count, error);
    (void)closedir(directory);
    return status;
}

void lh_name_list_free(char **names)
{
    for (char **name = names; name && *name; name++) {
        lh_heap_free(*name);
    }
    lh_heap_free(names);
}
