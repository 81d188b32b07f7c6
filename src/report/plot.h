/* Line and bar charts as SVG text, drawn by gnuplot. */
#ifndef LH_REPORT_PLOT_H
#define LH_REPORT_PLOT_H

#include "base/text.h"

#define LH_PLOT_MAX_SERIES 64
#define LH_PLOT_COLOURS 10

typedef struct lh_plot_series {
    const char *title; /* NULL: not in the key */
    const double *x, *y;
    int64_t count;
} lh_plot_series;

typedef struct lh_plot {
    const char *title, *x_label, *y_label;
    lh_plot_series series[LH_PLOT_MAX_SERIES];
    int series_count;
    int colour[LH_PLOT_MAX_SERIES]; /* of each series, see lh_plot_colour; 0: by its place among them */
    bool bars;                      /* boxes instead of lines; x is the position */
    bool log_x, log_y;
    bool short_x;    /* 200.0 k instead of 200000 along x */
    double y_max;    /* the y axis ends here; 0: where the data does */
    bool points;     /* a dot where each value is, for lines with few of them */
    bool zero_based; /* the y axis starts at 0 */
} lh_plot;

/* "#2f6fb5": the colour of a number from 1 on. */
const char *lh_plot_colour(int number);

/* Appends an <svg> element. LH_E_UNSUPPORTED if gnuplot is not installed. */
lh_status lh_plot_svg(const lh_plot *plot, lh_string *svg, lh_error *error);

#endif
