#include "train/journal.h"

#include "base/file.h"
#include "base/memory.h"
#include "formats/model_dir.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

lh_status lh_journal_open(lh_journal *journal, const char *directory, int64_t last_step, lh_error *error)
{
    *journal = (lh_journal){.log = {.descriptor = -1}};
    char *metrics = lh_path_join(directory, LH_FILE_METRICS), *log = lh_path_join(directory, LH_FILE_LOG);
    lh_status status =
        metrics && log ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory for the logs of %s", directory);
    if (status == LH_OK) {
        status = lh_jsonl_open(&journal->metrics, metrics, last_step, error);
    }
    if (status == LH_OK) {
        status = lh_append_open(&journal->log, log, false, error);
    }
    if (status == LH_OK) {
        status = lh_tfevents_open(&journal->events, directory, last_step + 1, error);
    }
    lh_heap_free(metrics);
    lh_heap_free(log);
    if (status != LH_OK) {
        lh_journal_close(journal);
    }
    return status;
}

void lh_journal_close(lh_journal *journal)
{
    lh_jsonl_close(journal->metrics);
    lh_tfevents_close(journal->events);
    if (journal->log.path) {
        lh_append_close(&journal->log);
    }
    *journal = (lh_journal){.log = {.descriptor = -1}};
}

lh_status lh_journal_scalars(lh_journal *journal, int64_t step, const lh_tfevents_scalar *scalars, size_t count,
                             lh_error *error)
{
    lh_tfevents_scalar finite[LH_JOURNAL_MAX_SCALARS];
    size_t kept = 0;
    lh_jsonl_integer(journal->metrics, "step", step);
    for (size_t i = 0; i < count && i < LH_JOURNAL_MAX_SCALARS; i++) {
        lh_jsonl_real(journal->metrics, scalars[i].tag, scalars[i].value);
        if (isfinite(scalars[i].value)) {
            finite[kept++] = scalars[i];
        }
    }
    LH_TRY(lh_jsonl_end(journal->metrics, error));
    return lh_tfevents_add(journal->events, step, finite, kept, error);
}

lh_status lh_journal_note(lh_journal *journal, lh_error *error, const char *format, ...)
{
    char line[1400];
    time_t now = time(NULL);
    struct tm parts;
    size_t used = 0;
    if (localtime_r(&now, &parts)) {
        used = strftime(line, sizeof line, "%Y-%m-%d %H:%M:%S  ", &parts);
    }
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    va_end(arguments);
    used += written < 0 ? 0 : (size_t)written < sizeof line - used - 1 ? (size_t)written : sizeof line - used - 2;
    line[used++] = '\n';
    return lh_append_write(&journal->log, line, used, error);
}
