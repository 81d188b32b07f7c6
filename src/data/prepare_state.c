#include "data/prepare_state.h"

#include "base/file.h"
#include "base/memory.h"
#include "data/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <lzma.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define STATE_FILE "prepare.state"
static const char state_magic[8] = "LHPREP1\n";

static uint64_t checksum_of(const lh_prepare_state *state)
{
    return lzma_crc64((const uint8_t *)state, offsetof(lh_prepare_state, checksum), 0);
}

static char *state_path(const char *folder, lh_error *error)
{
    char *path = lh_path_join(folder, STATE_FILE);
    if (!path) {
        (void)lh_fail(error, LH_E_MEMORY, "no memory to prepare %s", folder);
    }
    return path;
}

lh_status lh_prepare_state_load(const char *folder, uint64_t identity, lh_prepare_state *state, bool *found,
                                lh_error *error)
{
    *found = false;
    char *path = state_path(folder, error), *bytes = NULL;
    if (!path) {
        return LH_E_MEMORY;
    }
    size_t size = 0;
    bool there = lh_file_exists(path) && lh_file_read(path, 4096, &bytes, &size, NULL) == LH_OK;
    lh_heap_free(path);
    if (there && size == sizeof *state) {
        memcpy(state, bytes, sizeof *state);
        *found = memcmp(state->magic, state_magic, sizeof state_magic) == 0 &&
                 state->checksum == checksum_of(state) && state->identity == identity &&
                 state->open_split < LH_SPLITS;
    }
    lh_heap_free(bytes);
    if (!*found) {
        memset(state, 0, sizeof *state);
        state->identity = identity;
        state->open_split = -1;
    }
    return LH_OK;
}

lh_status lh_prepare_state_save(const char *folder, lh_prepare_state *state, lh_error *error)
{
    memcpy(state->magic, state_magic, sizeof state_magic);
    state->checksum = checksum_of(state);
    char *path = state_path(folder, error);
    lh_status status = path ? lh_file_write(path, state, sizeof *state, error) : LH_E_MEMORY;
    lh_heap_free(path);
    return status;
}

static bool begins_with(const char *name, const char *beginning)
{
    return strncmp(name, beginning, strlen(beginning)) == 0;
}

/* "train-00000.lhs" (if `everything`), its parts, the state, and what a killed atomic write left behind. */
static bool is_ours(const char *name, bool everything)
{
    static const char *const endings[] = {".lhs.part", ".lhs.docs", ".lhs.names", ".lhs.answers", ".lhs"};
    if (begins_with(name, STATE_FILE) || begins_with(name, LH_DATASET_FILE ".tmp-") ||
        begins_with(name, "tokenizer.json.tmp-") || begins_with(name, "tokenizer_config.json.tmp-")) {
        return true;
    }
    for (int split = 0; split < LH_SPLITS; split++) {
        size_t size = strlen(lh_split_name(split));
        if (!begins_with(name, lh_split_name(split)) || name[size] != '-') {
            continue;
        }
        size_t digits = strspn(name + size + 1, "0123456789");
        for (int i = 0; digits >= 5 && i < (everything ? 5 : 4); i++) {
            if (strcmp(name + size + 1 + digits, endings[i]) == 0) {
                return true;
            }
        }
    }
    return false;
}

static lh_status remove_file(const char *folder, const char *name, lh_error *error)
{
    char *path = lh_path_join(folder, name);
    lh_status status = LH_OK;
    if (!path) {
        status = lh_fail(error, LH_E_MEMORY, "no memory to remove %s", name);
    } else if (lh_file_exists(path) && unlink(path) != 0) {
        status = lh_fail_errno(error, "cannot remove %s", path);
    }
    lh_heap_free(path);
    return status;
}

lh_status lh_prepare_clean(const char *folder, bool everything, lh_error *error)
{
    if (everything) {
        /* First, so that the folder never claims shards that are gone. */
        LH_TRY(remove_file(folder, LH_DATASET_FILE, error));
    }
    char **names = NULL;
    LH_TRY(lh_directory_list(folder, &names, NULL, error));
    lh_status status = LH_OK;
    for (char **name = names; status == LH_OK && *name; name++) {
        if (is_ours(*name, everything)) {
            status = remove_file(folder, *name, error);
        }
    }
    lh_name_list_free(names);
    return status;
}

lh_status lh_prepare_lock(const char *folder, int *lock, lh_error *error)
{
    LH_TRY(lh_directory_create(folder, error));
    *lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock < 0) {
        return lh_fail_errno(error, "cannot open %s", folder);
    }
    if (flock(*lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        (void)close(*lock);
        *lock = -1;
        return lh_fail(error, LH_E_CONFIG, "another process is preparing %s", folder);
    }
    return LH_OK;
}
