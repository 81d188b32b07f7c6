#include "report/report.h"

#include "base/memory.h"
#include "base/progress.h"

static lh_status score_all(lh_reading *r, lh_session *session, const lh_tokenizer *tokenizer, const lh_ids *ids,
                           double *nll, int (*progress)(void *user, int64_t done, int64_t total), void *user,
                           lh_error *error)
{
    int64_t total = (int64_t)ids->size - 1, segment = lh_session_model(session)->config.segment;
    for (int64_t done = 0; done < total;) {
        int64_t part = total - done < segment ? total - done : segment;
        LH_TRY(lh_session_score(session, ids->data + done, ids->data + done + 1, part, nll, error));
        for (int64_t i = 0; i < part; i++) {
            int64_t bin = (done + i) * LH_REPORT_BINS / total;
            double bytes = (double)lh_tokenizer_token_length(tokenizer, ids->data[done + i + 1]);
            r->nats += nll[i];
            r->bytes += bytes;
            r->bin_nats[bin] += nll[i];
            r->bin_bytes[bin] += bytes;
        }
        done += part;
        r->tokens = (double)done;
        if (progress && progress(user, done, total)) {
            break;
        }
    }
    return LH_OK;
}

lh_status lh_reading_measure(lh_reading *reading, const lh_model *model, const lh_tokenizer *tokenizer,
                             const void *text, size_t size,
                             int (*progress)(void *user, int64_t done, int64_t total), void *user, lh_error *error)
{
    lh_ids ids = {0};
    lh_session *session = NULL;
    double *nll = NULL, started = lh_now();
    *reading = (lh_reading){0};
    lh_status status = lh_tokenizer_encode(tokenizer, text, size, 0, &ids, error);
    if (status == LH_OK && ids.size < 2) {
        status =
            lh_fail(error, LH_E_ARGUMENT, "the text has %zu tokens: at least 2 are needed to score one", ids.size);
    }
    if (status == LH_OK) {
        status = lh_session_create(&session, model, 1, 0, error);
    }
    if (status == LH_OK) {
        nll = lh_heap_alloc(sizeof *nll * (size_t)model->config.segment);
        status = nll ? LH_OK : lh_fail(error, LH_E_MEMORY, "no memory to score a text");
    }
    if (status == LH_OK) {
        lh_session_observe(session, lh_attention_age_observe, &reading->age);
        reading->state_bytes = lh_session_state_bytes(session);
        status = score_all(reading, session, tokenizer, &ids, nll, progress, user, error);
    }
    reading->seconds = lh_now() - started;
    lh_heap_free(nll);
    lh_session_free(session);
    lh_ids_free(&ids);
    return status;
}
