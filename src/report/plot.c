#include "report/plot.h"

#include "base/file.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Labels go into gnuplot's double quotes: what would end or escape them is dropped. */
static void quoted(lh_string *out, const char *text)
{
    lh_string_append(out, "\"", 1);
    for (; text && *text; text++) {
        if (*text != '"' && *text != '\\' && *text != '\n' && *text != '`') {
            lh_string_append(out, text, 1);
        }
    }
    lh_string_append(out, "\"", 1);
}

const char *lh_plot_colour(int number)
{
    static const char *const colours[LH_PLOT_COLOURS] = {"#2f6fb5", "#d9792b", "#3a9b62", "#a4478f", "#7a7a7a",
                                                         "#c23b3b", "#1fa3a8", "#8a6d3b", "#6a5acd", "#b8a000"};
    return colours[number > 0 ? (number - 1) % LH_PLOT_COLOURS : 0];
}

static const char *style(const lh_plot *plot)
{
    return plot->bars ? "boxes" : plot->points ? "linespoints pt 7 ps 0.4" : "lines";
}

static void write_axes(const lh_plot *plot, lh_string *out)
{
    lh_string_print(out, "%s%s%s", plot->log_x ? "set logscale x\n" : "", plot->log_y ? "set logscale y\n" : "",
                    plot->short_x ? "set format x '%.1s %c'\n" : "");
    if (plot->zero_based || plot->y_max != 0.0) {
        lh_string_print(out, "set yrange [%s:", plot->zero_based ? "0" : "*");
        lh_string_print(out, plot->y_max != 0.0 ? "%.9g]\n" : "*]\n", plot->y_max);
    }
}

static void write_script(const lh_plot *plot, lh_string *out)
{
    lh_string_print(
        out,
        "set terminal svg size 760,340 dynamic font 'sans-serif,13'\n"
        "set encoding utf8\nset border 3 lc rgb '#888888'\nset tics nomirror textcolor rgb '#666666'\n"
        "set grid ytics lc rgb '#dddddd' lw 0.7\nset key outside top center horizontal textcolor rgb '#666666'\n"
        "set style fill solid 0.85 noborder\nset boxwidth 0.8\n");
    lh_string_print(out, "set title ");
    quoted(out, plot->title);
    lh_string_print(out, " noenhanced textcolor rgb '#444444'\nset xlabel ");
    quoted(out, plot->x_label);
    lh_string_print(out, " noenhanced textcolor rgb '#666666'\nset ylabel ");
    quoted(out, plot->y_label);
    lh_string_print(out, " noenhanced textcolor rgb '#666666'\n");
    write_axes(plot, out);
    for (int s = 0; s < plot->series_count; s++) {
        lh_string_print(out, "$data%d << END_OF_DATA\n", s);
        for (int64_t i = 0; i < plot->series[s].count; i++) {
            if (isfinite(plot->series[s].y[i])) {
                lh_string_print(out, "%.9g %.9g\n", plot->series[s].x[i], plot->series[s].y[i]);
            }
        }
        lh_string_print(out, "END_OF_DATA\n");
    }
    lh_string_print(out, "plot ");
    for (int s = 0; s < plot->series_count; s++) {
        int colour = plot->colour[s] ? plot->colour[s] : s + 1;
        lh_string_print(out, "%s$data%d using 1:2 with %s lc rgb '%s' %s ", s ? ", " : "", s, style(plot),
                        lh_plot_colour(colour), plot->bars ? "" : "lw 2");
        if (plot->series[s].title) {
            lh_string_print(out, "title ");
            quoted(out, plot->series[s].title);
        } else {
            lh_string_print(out, "notitle");
        }
    }
    lh_string_print(out, "\n");
}

static lh_status run_gnuplot(const char *script, lh_string *svg, lh_error *error)
{
    char command[512], buffer[4096];
    size_t got, before = svg->size;
    (void)snprintf(command, sizeof command, "gnuplot '%s' 2>/dev/null", script);
    FILE *pipe = popen(command, "r");
    if (!pipe) {
        return lh_fail_errno(error, "cannot start gnuplot");
    }
    while ((got = fread(buffer, 1, sizeof buffer, pipe)) > 0) {
        lh_string_append(svg, buffer, got);
    }
    int code = pclose(pipe);
    if (code != 0 || svg->size == before) {
        return lh_fail(error, LH_E_UNSUPPORTED, "gnuplot drew nothing: is it installed?");
    }
    return svg->failed ? lh_fail(error, LH_E_MEMORY, "no memory for a chart") : LH_OK;
}

lh_status lh_plot_svg(const lh_plot *plot, lh_string *svg, lh_error *error)
{
    const char *folder = getenv("TMPDIR");
    char path[256];
    lh_string script = {0}, whole = {0};
    if (!folder || strlen(folder) > 200 || strchr(folder, '\'')) {
        folder = "/var/tmp";
    }
    (void)snprintf(path, sizeof path, "%s/longhand-plot-XXXXXX", folder);
    int descriptor = mkstemp(path);
    if (descriptor < 0) {
        return lh_fail_errno(error, "cannot make a temporary file in %s", folder);
    }
    (void)close(descriptor);
    write_script(plot, &script);
    lh_status status = script.failed ? lh_fail(error, LH_E_MEMORY, "no memory for a chart")
                                     : lh_file_write(path, script.data, script.size, error);
    if (status == LH_OK) {
        status = run_gnuplot(path, &whole, error);
    }
    (void)unlink(path);
    if (status == LH_OK) { /* the element alone: an XML prologue has no place inside a page */
        const char *start = strstr(whole.data, "<svg");
        start = start ? start : whole.data;
        lh_string_append(svg, start, whole.size - (size_t)(start - whole.data));
    }
    lh_string_free(&script);
    lh_string_free(&whole);
    return status;
}
