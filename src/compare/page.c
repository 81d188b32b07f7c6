/* The report as a page. */
#include "report/page.h"
#include "base/memory.h"
#include "base/progress.h"
#include "compare/results.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Wider than other pages, and a table whose columns sort when their heading is clicked. */
static const char head[] =
    "<style>main{max-width:1060px}.wide{overflow-x:auto}.wide "
    "td{white-space:nowrap}td:first-child,th:first-child{text-align:left}\n"
    "table.sort th{cursor:pointer;white-space:nowrap}table.sort th:hover{color:var(--ink)}\n"
    "table.sort th.up::after{content:' \\2191'}table.sort th.down::after{content:' \\2193'}\n"
    ".dot{display:inline-block;width:10px;height:10px;border-radius:5px;margin-right:7px}\n"
    ".best{font-weight:600}.bad{color:#c23b3b;text-align:left;white-space:normal}.soft{color:var(--soft)}\n"
    ".bar{height:14px;border-radius:3px;min-width:2px}table.bars td:nth-child(2){width:70%;text-align:left}\n"
    "table.bars{width:100%}pre{margin-top:8px}</style>\n"
    "<script>\ndocument.addEventListener('click',function(e){var h=e.target.closest('table.sort "
    "th');if(!h)return;\n"
    "var t=h.closest('table'),n=h.cellIndex,up=!h.classList.contains('up'),b=t.tBodies[0];\n"
    "t.querySelectorAll('th').forEach(function(x){x.classList.remove('up','down')});h.classList.add(up?'up':'down')"
    ";\n"
    "function v(r){var c=r.cells[n];return c?c.dataset.v:undefined}\n"
    "Array.from(b.rows).sort(function(p,q){var a=v(p),c=v(q);if(a===undefined||a==='')return 1;\n"
    "if(c===undefined||c==='')return -1;var d=isNaN(a)||isNaN(c)?(a<c?-1:a>c?1:0):a-c;return up?d:-d})\n"
    ".forEach(function(r){b.appendChild(r)})});\n</script>\n";

/* Numbers of one series, collected for a chart. */
typedef struct points {
    double *x, *y;
    int64_t count;
} points;

typedef struct sheet {
    const json_t *results;
    lh_string *out;
    lh_error *error;
    char unit[64], training_unit[64]; /* "bits per byte" */
} sheet;

/* ---- small pieces ---- */

/* "bits_per_byte" as people write it. */
static void spell(char *text, size_t size, const char *unit)
{
    (void)snprintf(text, size, "%s", unit);
    for (char *c = text; *c; c++) {
        *c = *c == '_' ? ' ' : *c;
    }
}

static const json_t *methods_of(const sheet *s)
{
    return json_object_get(s->results, "methods");
}

static const char *method_name(const sheet *s, size_t index)
{
    return lh_result_text(json_array_get(methods_of(s), index), "name");
}

static void name_cell(const sheet *s, size_t index)
{
    lh_string_print(s->out, "<td data-v=\"%s\"><span class=dot style=\"background:%s\"></span>%s",
                    method_name(s, index), lh_plot_colour((int)index + 1), method_name(s, index));
}

/* A cell that shows `text` and is sorted by `value`. */
static void cell(lh_string *out, double value, const char *text, const char *more)
{
    if (isfinite(value)) {
        lh_string_print(out, "<td%s data-v=\"%.9g\">%s", more, value, text);
    } else {
        lh_string_print(out, "<td class=soft data-v=\"\">&ndash;");
    }
}

static void count_cell(lh_string *out, double value)
{
    char text[40];
    cell(out, value, lh_format_count(text, sizeof text, value), "");
}

static void bytes_cell(lh_string *out, double value)
{
    char text[40];
    cell(out, value, lh_format_bytes(text, sizeof text, value), "");
}

static double mean_of(const sheet *s, size_t index, const char *path)
{
    return lh_result_spread_of(s->results, method_name(s, index), path).mean;
}

/* The method with the best value, or -1. */
static int best_method(const sheet *s)
{
    int best = -1;
    double lowest = INFINITY, sign = lh_result_higher_is_better(s->results) ? -1 : 1;
    for (size_t i = 0; i < json_array_size(methods_of(s)); i++) {
        double value = sign * mean_of(s, i, "value");
        if (value < lowest) {
            lowest = value;
            best = (int)i;
        }
    }
    return best;
}

static double cost_at(const sheet *s, size_t index, int64_t length)
{
    const json_t *run = lh_result_run(s->results, method_name(s, index), "cost");
    return lh_result_number(lh_result_point(run, length), "milliseconds_per_token");
}

/* ---- the head of the page ---- */

static void tile(lh_string *out, const char *value, const char *label)
{
    lh_string_print(out, "<div class=tile><b>");
    lh_page_escape(out, value);
    lh_string_print(out, "</b><span>");
    lh_page_escape(out, label);
    lh_string_print(out, "</span></div>\n");
}

static void subtitle(const sheet *s)
{
    const json_t *r = s->results;
    char tokens[40];
    lh_string_print(s->out, "<p class=sub>%zu methods, %.0f %s, %s, on ", json_array_size(methods_of(s)),
                    lh_result_number(r, "settings.seeds"),
                    lh_result_number(r, "settings.seeds") > 1 ? "seeds each" : "seed",
                    lh_result_text(r, "budget.text"));
    lh_page_escape(s->out, lh_result_text(r, "data.source"));
    lh_string_print(s->out, " (%s tokens to learn from, %s)</p>\n",
                    lh_format_count(tokens, sizeof tokens, lh_result_number(r, "data.training_tokens")),
                    lh_result_text(r, "data.tokenizer"));
}

static void tiles(const sheet *s)
{
    char text[80], label[160];
    int best = best_method(s);
    lh_string_print(s->out, "<div class=tiles>\n");
    if (best >= 0) {
        (void)snprintf(text, sizeof text, "%.4f", mean_of(s, (size_t)best, "value"));
        (void)snprintf(label, sizeof label, "%s, held out: %s is best", s->unit, method_name(s, (size_t)best));
        tile(s->out, text, label);
    }
    (void)snprintf(text, sizeof text, "%d of %zu", lh_result_count(s->results, "finished"),
                   json_array_size(json_object_get(s->results, "runs")));
    (void)snprintf(label, sizeof label, "runs finished, %d failed", lh_result_count(s->results, "failed"));
    tile(s->out, text, label);
    tile(s->out, lh_format_duration(text, sizeof text, lh_result_number(s->results, "seconds.parts")),
         "of training and measuring");
    lh_string_print(s->out, "</div>\n");
}

/* ---- the table ---- */

static void table_head(const sheet *s)
{
    static const char *const names[] = {"parameters",        "flop per token",   "tokens trained",
                                        "tokens/s training", "tokens/s reading", "state of a document",
                                        "peak memory"};
    lh_string_print(s->out, "<div class=wide><table class=sort><thead><tr><th>method<th>%s", s->unit);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        lh_string_print(s->out, "<th>%s", names[i]);
    }
    lh_string_print(s->out, "</tr></thead><tbody>\n");
}

static void value_cell(const sheet *s, size_t index, bool best)
{
    char text[96];
    lh_result_spread v = lh_result_spread_of(s->results, method_name(s, index), "value");
    const char *format = v.mean < 1e4 ? "%.4f" : "%.4g";
    int used = snprintf(text, sizeof text, format, v.mean);
    if (v.runs > 1 && used > 0) {
        (void)snprintf(text + used, sizeof text - (size_t)used, " <span class=soft>&plusmn; %.4g</span>",
                       v.deviation);
    }
    cell(s->out, v.mean, text, best ? " class=best" : "");
}

static void table_row(const sheet *s, size_t index, bool best)
{
    const json_t *method = json_array_get(methods_of(s), index);
    lh_string_print(s->out, "<tr>");
    name_cell(s, index);
    value_cell(s, index, best);
    count_cell(s->out, lh_result_number(method, "parameters"));
    count_cell(s->out, lh_result_number(method, "training_flops"));
    count_cell(s->out, mean_of(s, index, "training.tokens"));
    count_cell(s->out, mean_of(s, index, "training.tokens_per_second"));
    count_cell(s->out, mean_of(s, index, "evaluation.tokens_per_second"));
    bytes_cell(s->out, lh_result_number(method, "state_bytes"));
    bytes_cell(s->out, mean_of(s, index, "training.peak_bytes"));
    lh_string_print(s->out, "</tr>\n");
}

static void failures(const sheet *s)
{
    size_t i;
    json_t *run;
    bool any = false;
    json_array_foreach(json_object_get(s->results, "runs"), i, run)
    {
        if (lh_result_at(run, "error")) {
            lh_string_print(s->out, "%s<tr><td>%s-%.0f<td class=soft>%s<td class=bad>",
                            any ? "" : "<p></p><table><tr><th>failed<th>while<th></tr>\n",
                            lh_result_text(run, "method"), lh_result_number(run, "seed"),
                            lh_result_text(run, "error.stage"));
            lh_page_escape(s->out, lh_result_text(run, "error.sentence"));
            lh_string_print(s->out, "</tr>\n");
            any = true;
        }
    }
    lh_string_print(s->out, any ? "</table>\n" : "");
}

static void results_section(const sheet *s)
{
    int best = best_method(s);
    lh_string_print(s->out, "<section><h2>Results</h2>\n");
    table_head(s);
    for (size_t i = 0; i < json_array_size(methods_of(s)); i++) {
        table_row(s, i, (int)i == best);
    }
    lh_string_print(s->out, "</tbody></table></div>\n");
    failures(s);
    lh_string_print(s->out, "<p class=given style=\"margin-top:12px\">");
    double scored =
        lh_result_spread_of(s->results, best < 0 ? "" : method_name(s, (size_t)best), "evaluation.scored").mean;
    if (isfinite(scored)) {
        lh_string_print(s->out, "%s on %.0f held-out tokens (protocol %s). ", s->unit, scored,
                        lh_result_text(s->results, "settings.protocol"));
    }
    lh_string_print(s->out, "Flop per token: forward and backward. Peak memory: the largest resident memory of the "
                            "training process. Click a heading to sort.</p></section>\n");
}

/* ---- charts ---- */

static void free_points(points *p, int count)
{
    for (int i = 0; i < count; i++) {
        lh_heap_free(p[i].x);
        lh_heap_free(p[i].y);
    }
}

static bool make_points(points *p, size_t capacity)
{
    *p = (points){.x = lh_heap_alloc(sizeof *p->x * (capacity + 1)),
                  .y = lh_heap_alloc(sizeof *p->y * (capacity + 1))};
    return p->x && p->y;
}

static void add_point(points *p, double x, double y)
{
    if (isfinite(x) && isfinite(y)) {
        p->x[p->count] = x;
        p->y[p->count++] = y;
    }
}

/* How a run becomes a series: false without memory. */
typedef bool (*series_of_run)(const sheet *s, const json_t *run, points *p);

static bool training_curve(const json_t *run, const char *x_path, points *p)
{
    const json_t *x = lh_result_at(run, x_path), *y = lh_result_at(run, "training.curve.loss");
    if (!make_points(p, json_array_size(x))) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(x) && i < json_array_size(y); i++) {
        const json_t *value = json_array_get(y, i);
        add_point(p, json_number_value(json_array_get(x, i)),
                  json_is_number(value) ? json_number_value(value) : NAN);
    }
    return true;
}

static bool curve_by_tokens(const sheet *s, const json_t *run, points *p)
{
    (void)s;
    return training_curve(run, "training.curve.tokens", p);
}

static bool curve_by_seconds(const sheet *s, const json_t *run, points *p)
{
    (void)s;
    return training_curve(run, "training.curve.seconds", p);
}

/* What a bin of positions is shown in. */
static const char *bin_unit(const sheet *s)
{
    return strcmp(lh_result_text(s->results, "unit"), "bits_per_byte") == 0 ? "bits_per_byte" : "nats_per_token";
}

/* Bins double: a value stands in the middle of its bin on a logarithmic axis. */
static bool binned(const json_t *bins, const char *key, points *p)
{
    if (!make_points(p, json_array_size(bins))) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(bins); i++) {
        const json_t *bin = json_array_get(bins, i);
        double from = lh_result_number(bin, "from"), next = lh_result_number(json_array_get(bins, i + 1), "from");
        add_point(p, from > 0 ? from * sqrt(2.0) : next / 2, lh_result_number(bin, key));
    }
    return true;
}

static bool loss_by_position(const sheet *s, const json_t *run, points *p)
{
    return binned(lh_result_at(run, "evaluation.by_position"), bin_unit(s), p);
}

static bool accuracy_by_distance(const sheet *s, const json_t *run, points *p)
{
    (void)s;
    return binned(lh_result_at(run, "evaluation.by_distance"), "accuracy", p);
}

static bool cost_by_length(const sheet *s, const json_t *run, points *p)
{
    const json_t *list = lh_result_at(run, "cost.points");
    (void)s;
    if (!make_points(p, json_array_size(list))) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *point = json_array_get(list, i);
        add_point(p, lh_result_number(point, "length"), lh_result_number(point, "milliseconds_per_token"));
    }
    return true;
}

/* Where the y axis of curves that fall steeply should end so that their ends can be told apart: the highest value
 * behind the first tenth. */
static double interesting_top(const points *all, int count)
{
    double top = 0;
    for (int i = 0; i < count; i++) {
        const points *p = &all[i];
        double tenth = p->count ? p->x[p->count - 1] / 10 : 0;
        for (int64_t k = 0; k < p->count; k++) {
            top = p->x[k] >= tenth ? fmax(top, p->y[k]) : top;
        }
    }
    return 1.02 * top;
}

/* One line per run, in the colour of its method; the first of a method stands in the key. */
static lh_status chart(const sheet *s, lh_plot *plot, series_of_run make, bool cut)
{
    points all[LH_PLOT_MAX_SERIES];
    int made = 0;
    bool good = true;
    for (size_t m = 0; m < json_array_size(methods_of(s)); m++) {
        bool named = false;
        size_t i;
        json_t *run;
        json_array_foreach(json_object_get(s->results, "runs"), i, run)
        {
            bool wanted = strcmp(lh_result_text(run, "method"), method_name(s, m)) == 0;
            if (!wanted || made == LH_PLOT_MAX_SERIES || !good) {
                continue;
            }
            points *p = &all[made++];
            good = make(s, run, p);
            if (good && p->count > 0) {
                plot->colour[plot->series_count] = (int)m + 1;
                plot->series[plot->series_count++] =
                    (lh_plot_series){named ? NULL : method_name(s, m), p->x, p->y, p->count};
                named = true;
            }
        }
    }
    plot->y_max = cut ? interesting_top(all, made) : plot->y_max;
    lh_status status = good ? LH_OK : lh_fail(s->error, LH_E_MEMORY, "no memory for a chart");
    if (status == LH_OK && plot->series_count > 0) {
        status = lh_page_chart(s->out, plot, s->error);
    } else if (status == LH_OK) {
        lh_string_print(s->out, "<p class=given>Nothing was measured.</p>\n");
    }
    free_points(all, made);
    return status;
}

static lh_status learning_section(const sheet *s)
{
    lh_plot tokens = {
        .title = "training loss by tokens", .x_label = "tokens", .y_label = s->training_unit, .short_x = true};
    lh_plot seconds = {
        .title = "training loss by time", .x_label = "seconds of training", .y_label = s->training_unit};
    lh_string_print(s->out, "<section><h2>How they learned</h2>\n");
    LH_TRY(chart(s, &tokens, curve_by_tokens, true));
    LH_TRY(chart(s, &seconds, curve_by_seconds, true));
    lh_string_print(s->out, "</section>\n");
    return LH_OK;
}

static void position_table(const sheet *s, const char *path, const char *key)
{
    const json_t *longest = NULL;
    size_t i, m;
    json_t *run, *bin;
    json_array_foreach(json_object_get(s->results, "runs"), i, run)
    {
        const json_t *bins = lh_result_at(run, path);
        longest = json_array_size(bins) > json_array_size(longest) ? bins : longest;
    }
    lh_string_print(s->out, "<details><summary>as a table</summary><div class=wide><table><tr><th>from<th>tokens");
    for (m = 0; m < json_array_size(methods_of(s)); m++) {
        lh_string_print(s->out, "<th>%s", method_name(s, m));
    }
    lh_string_print(s->out, "</tr>\n");
    json_array_foreach(longest, i, bin)
    {
        lh_string_print(s->out, "<tr><td>%.0f<td>%.0f", lh_result_number(bin, "from"),
                        lh_result_number(bin, "tokens"));
        for (m = 0; m < json_array_size(methods_of(s)); m++) {
            const json_t *first = lh_result_run(s->results, method_name(s, m), "evaluation");
            const json_t *row = json_array_get(lh_result_at(first, path), i);
            double value = lh_result_number(row, key);
            char text[32];
            (void)snprintf(text, sizeof text, "%.4f", value);
            cell(s->out, value, text, "");
        }
        lh_string_print(s->out, "</tr>\n");
    }
    lh_string_print(s->out, "</table></div></details>\n");
}

static lh_status position_section(const sheet *s)
{
    char unit[64];
    spell(unit, sizeof unit, bin_unit(s));
    lh_plot plot = {.title = "held-out loss by position in the document",
                    .x_label = "position (tokens)",
                    .y_label = unit,
                    .log_x = true,
                    .short_x = true,
                    .points = true};
    lh_string_print(s->out,
                    "<section><h2>What the context is good for</h2>\n<p>The loss of tokens by how far into "
                    "their document they stand: a method that uses a long context gets better with it.</p>\n");
    LH_TRY(chart(s, &plot, loss_by_position, false));
    position_table(s, "evaluation.by_position", bin_unit(s));
    lh_string_print(s->out, "</section>\n");
    return LH_OK;
}

static lh_status distance_section(const sheet *s)
{
    lh_plot plot = {.title = "accuracy by how far back the answer stands",
                    .x_label = "distance (tokens)",
                    .y_label = "accuracy",
                    .log_x = true,
                    .short_x = true,
                    .zero_based = true,
                    .y_max = 1.0,
                    .points = true};
    double chance = NAN;
    for (size_t m = 0; m < json_array_size(methods_of(s)) && isnan(chance); m++) {
        chance = mean_of(s, m, "evaluation.chance");
    }
    lh_string_print(s->out,
                    "<section><h2>How far they remember</h2>\n<p>The part of the answers that are right, by "
                    "how many tokens before them stands what they repeat.");
    if (isfinite(chance)) {
        lh_string_print(s->out, " Guessing gives %.3g.", chance);
    }
    lh_string_print(s->out, "</p>\n");
    LH_TRY(chart(s, &plot, accuracy_by_distance, false));
    position_table(s, "evaluation.by_distance", "accuracy");
    lh_string_print(s->out, "</section>\n");
    return LH_OK;
}

/* ---- cost and memory ---- */

static void reached_sentence(const sheet *s)
{
    char reached[40];
    lh_string_print(
        s->out,
        "<p class=given style=\"margin-top:12px\">Every figure is measured, with one document: the "
        "median over the segments of its second half when it had that length. A dash: the time allowed (%s a "
        "method) was "
        "over before. Read were ",
        lh_format_duration(reached, sizeof reached, lh_result_number(s->results, "settings.length_seconds")));
    bool any = false;
    for (size_t m = 0; m < json_array_size(methods_of(s)); m++) {
        const json_t *run = lh_result_run(s->results, method_name(s, m), "cost");
        if (run) {
            lh_string_print(s->out, "%s%s tokens by %s", any ? ", " : "",
                            lh_format_count(reached, sizeof reached, lh_result_number(run, "cost.reached")),
                            method_name(s, m));
            any = true;
        }
    }
    lh_string_print(s->out, "%s.</p>\n", any ? "" : "none");
}

static void cost_table(const sheet *s)
{
    size_t i;
    json_t *length;
    char text[40];
    const json_t *lengths = lh_result_at(s->results, "settings.lengths");
    lh_string_print(s->out, "<div class=wide><table class=sort><thead><tr><th>ms per token at");
    json_array_foreach(lengths, i, length)
    {
        lh_string_print(s->out, "<th>%s", lh_format_count(text, sizeof text, (double)json_integer_value(length)));
    }
    lh_string_print(s->out, "<th>state, with the running segment</tr></thead><tbody>\n");
    for (size_t m = 0; m < json_array_size(methods_of(s)); m++) {
        const json_t *run = lh_result_run(s->results, method_name(s, m), "cost");
        const json_t *list = lh_result_at(run, "cost.points");
        size_t count = json_array_size(list);
        lh_string_print(s->out, "<tr>");
        name_cell(s, m);
        json_array_foreach(lengths, i, length)
        {
            double value = cost_at(s, m, json_integer_value(length));
            (void)snprintf(text, sizeof text, "%.3g", value);
            cell(s->out, value, text, "");
        }
        bytes_cell(s->out, count ? lh_result_number(json_array_get(list, count - 1), "state_bytes") : NAN);
        lh_string_print(s->out, "</tr>\n");
    }
    lh_string_print(s->out, "</tbody></table></div>\n");
}

static lh_status cost_section(const sheet *s)
{
    lh_plot plot = {.title = "cost of a token by length of the document",
                    .x_label = "tokens of the document so far",
                    .y_label = "milliseconds per token",
                    .log_x = true,
                    .short_x = true,
                    .zero_based = true,
                    .points = true};
    lh_string_print(s->out, "<section><h2>What a token costs</h2>\n");
    LH_TRY(chart(s, &plot, cost_by_length, false));
    cost_table(s);
    reached_sentence(s);
    lh_string_print(s->out, "</section>\n");
    return LH_OK;
}

/* Bars of bytes: of what is known of the methods themselves, or of the mean over their runs. */
static double bytes_of(const sheet *s, size_t index, const char *path, bool of_method)
{
    return of_method ? lh_result_number(json_array_get(methods_of(s), index), path) : mean_of(s, index, path);
}

static void bars(const sheet *s, const char *title, const char *path, bool of_method)
{
    double most = 0;
    char text[40];
    for (size_t m = 0; m < json_array_size(methods_of(s)); m++) {
        most = fmax(most, bytes_of(s, m, path, of_method));
    }
    lh_string_print(s->out, "<p>%s</p><table class=bars>\n", title);
    for (size_t m = 0; m < json_array_size(methods_of(s)); m++) {
        double value = bytes_of(s, m, path, of_method);
        lh_string_print(s->out, "<tr><td>%s<td>", method_name(s, m));
        if (isfinite(value)) {
            lh_string_print(s->out, "<div class=bar style=\"width:%.1f%%;background:%s\"></div><td>%s",
                            most > 0 ? 100 * value / most : 0, lh_plot_colour((int)m + 1),
                            lh_format_bytes(text, sizeof text, value));
        } else {
            lh_string_print(s->out, "<td class=soft>&ndash;");
        }
        lh_string_print(s->out, "</tr>\n");
    }
    lh_string_print(s->out, "</table>\n");
}

static void memory_section(const sheet *s)
{
    lh_string_print(s->out, "<section><h2>What they keep</h2>\n");
    bars(s, "State of one document, carried from segment to segment", "state_bytes", true);
    bars(s, "Peak memory of training", "training.peak_bytes", false);
    lh_string_print(s->out, "</section>\n");
}

/* ---- the foot ---- */

static void pre(lh_string *out, const char *summary, const char *text)
{
    lh_string_print(out, "<details><summary>");
    lh_page_escape(out, summary);
    lh_string_print(out, "</summary><pre>");
    lh_page_escape(out, text);
    lh_string_print(out, "</pre></details>\n");
}

static void configuration_section(const sheet *s)
{
    const json_t *r = s->results;
    char memory[40], label[160];
    size_t i;
    json_t *method;
    lh_string_print(s->out, "<section><h2>How this was made</h2>\n<pre>");
    lh_page_escape(s->out, lh_result_text(r, "command"));
    lh_string_print(s->out, "</pre><p class=given style=\"margin-top:10px\">");
    lh_page_escape(s->out, lh_result_text(r, "machine.cpu"));
    lh_string_print(s->out, ", %.0f of %.0f cores used, %s of memory, %s kernels, ",
                    lh_result_number(r, "machine.threads"), lh_result_number(r, "machine.cores"),
                    lh_format_bytes(memory, sizeof memory, lh_result_number(r, "machine.memory_bytes")),
                    lh_result_text(r, "machine.kernels"));
    lh_page_escape(s->out, lh_result_text(r, "machine.system"));
    lh_string_print(s->out, "</p>\n");
    json_array_foreach(methods_of(s), i, method)
    {
        (void)snprintf(label, sizeof label, "%.40s: %.100s", lh_result_text(method, "name"),
                       lh_result_text(method, "summary"));
        pre(s->out, label, lh_result_text(method, "recipe"));
    }
    lh_string_print(s->out, "</section>\n");
}

lh_status lh_compare_page(const json_t *results, lh_string *out, lh_error *error)
{
    sheet s = {.results = results, .out = out, .error = error};
    spell(s.unit, sizeof s.unit, lh_result_text(results, "unit"));
    spell(s.training_unit, sizeof s.training_unit, lh_result_text(results, "training_unit"));
    lh_page_begin(out, lh_result_text(results, "title"), head);
    subtitle(&s);
    tiles(&s);
    results_section(&s);
    LH_TRY(learning_section(&s));
    LH_TRY(lh_result_higher_is_better(results) ? distance_section(&s) : position_section(&s));
    LH_TRY(cost_section(&s));
    memory_section(&s);
    configuration_section(&s);
    lh_page_end(out);
    return out->failed ? lh_fail(error, LH_E_MEMORY, "no memory for the report") : LH_OK;
}
