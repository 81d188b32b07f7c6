/* Line and bar charts as SVG text, drawn by gnuplot. */
#ifndef LH_REPORT_PLOT_H
#define LH_REPORT_PLOT_H

#include "base/text.h"

#define LH_PLOT_MAX_SERIES 6

typedef struct lh_plot_series {
    const char *title; /* NULL: not in the key */
    const double *x, *y;
    int64_t count;
} lh_plot_series;

typedef struct lh_plot {
    const char *title, *x_label, *y_label;
    lh_plot_series series[LH_PLOT_MAX_SERIES];
    int series_count;
    bool bars; /* boxes instead of lines; x is the position */
    bool log_x;
    bool zero_based; /* the y axis starts at 0 */
} lh_plot;

/* Appends an <svg> element. LH_E_UNSUPPORTED if gnuplot is not installed. */
lh_status lh_plot_svg(const lh_plot *plot, lh_string *svg, lh_error *error);

#endif
