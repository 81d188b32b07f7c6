/* One page about a run: how it learned, how well it reads a text and where in it, what its attention falls on, what
 * it writes. Self-contained HTML: no scripts, no fonts, no links to anywhere. */
#ifndef LH_REPORT_REPORT_H
#define LH_REPORT_REPORT_H

#include "base/text.h"
#include "infer/session.h"
#include "report/attention_age.h"
#include "text/tokenizer.h"

enum { LH_REPORT_BINS = 32 };

/* What reading one text showed. */
typedef struct lh_reading {
    double nats, bytes, tokens, seconds;
    double bin_nats[LH_REPORT_BINS], bin_bytes[LH_REPORT_BINS]; /* by position: equal parts of the text read */
    lh_attention_age age;
    int64_t state_bytes;
} lh_reading;

/* Reads `size` bytes of text with a fresh session and scores every token but the first. progress (may be NULL) is
 * called with the tokens done and in all; returning nonzero stops early with what there is. */
lh_status lh_reading_measure(lh_reading *reading, const lh_model *model, const lh_tokenizer *tokenizer,
                             const void *text, size_t size,
                             int (*progress)(void *user, int64_t done, int64_t total), void *user, lh_error *error);

typedef struct lh_report {
    const char *run;              /* directory: recipe.ini and metrics.jsonl are read from it */
    const char *title;            /* of the page */
    const char *data;             /* name of the text that was read */
    const lh_reading *reading;    /* or NULL */
    const char *prompt, *passage; /* what it was given, what it wrote; or NULL */
    const lh_model *model;
    int64_t step;
} lh_report;

/* Appends the page. Charts need gnuplot; without it the page says so and keeps its tables. */
lh_status lh_report_html(const lh_report *report, lh_string *html, lh_error *error);

#endif
