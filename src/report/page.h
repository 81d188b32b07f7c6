/* What the pages of reports are made of: self-contained HTML with one look. */
#ifndef LH_REPORT_PAGE_H
#define LH_REPORT_PAGE_H

#include "report/plot.h"

/* Everything up to the page's heading, which is the title. `head`: more for the end of <head>, or "". */
void lh_page_begin(lh_string *out, const char *title, const char *head);
/* The page's last lines. */
void lh_page_end(lh_string *out);

/* Text with what HTML would take for itself replaced. NULL is "". */
void lh_page_escape(lh_string *out, const char *text);

/* A large number with its name, for a row of <div class=tiles>. */
void lh_page_tile(lh_string *out, const char *label, const char *format, double value);

/* A chart, or a sentence that says why there is none. */
lh_status lh_page_chart(lh_string *out, const lh_plot *plot, lh_error *error);

#endif
