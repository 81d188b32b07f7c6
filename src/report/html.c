#include "report/report.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "formats/model_dir.h"
#include "report/metrics.h"
#include "report/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char style[] =
    "<style>\n:root{--ink:#1c1f24;--soft:#5d6673;--line:#e3e6ea;--card:#fff;--page:#f5f6f8;--accent:#2f6fb5}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e7e9ec;--soft:#9aa3b0;--line:#30353c;--card:#1d2126;--page:#"
    "14171b}\n"
    "svg{filter:invert(.88) hue-rotate(180deg)}}\n"
    "body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,sans-serif}\n"
    "main{max-width:860px;margin:0 auto;padding:32px 20px 64px}\nh1{font-size:26px;margin:0 0 "
    "4px}h2{font-size:18px;"
    "margin:0 0 12px}\n.sub{color:var(--soft);margin:0 0 24px}\nsection{background:var(--card);border:1px solid "
    "var(--line);border-radius:10px;padding:20px;margin:0 0 "
    "18px}\n.tiles{display:grid;grid-template-columns:repeat("
    "auto-fit,minmax(150px,1fr));gap:12px;margin:0 0 18px}\n.tile{background:var(--card);border:1px solid "
    "var(--line);"
    "border-radius:10px;padding:14px 16px}\n.tile b{display:block;font-size:22px}.tile "
    "span{color:var(--soft);font-size:"
    "13px}\nsvg{width:100%;height:auto}\ntable{border-collapse:collapse;font-size:13px;font-variant-numeric:"
    "tabular-nums}"
    "\ntd,th{padding:3px 14px 3px 0;text-align:right;border-bottom:1px solid var(--line)}th{color:var(--soft);"
    "font-weight:500}\npre{white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.5 "
    "ui-monospace,monospace;margin:0}\n"
    ".given{color:var(--soft)}details{margin-top:10px}summary{cursor:pointer;color:var(--soft)}p{margin:0 0 10px}\n"
    "</style>\n";

static void escaped(lh_string *out, const char *text)
{
    for (; text && *text; text++) {
        switch (*text) {
        case '&': lh_string_append(out, "&amp;", 5); break;
        case '<': lh_string_append(out, "&lt;", 4); break;
        case '>': lh_string_append(out, "&gt;", 4); break;
        case '"': lh_string_append(out, "&quot;", 6); break;
        default: lh_string_append(out, text, 1);
        }
    }
}

static void tile(lh_string *out, const char *label, const char *format, double value)
{
    char text[64];
    (void)snprintf(text, sizeof text, format, value);
    lh_string_print(out, "<div class=tile><b>%s</b><span>%s</span></div>\n", text, label);
}

/* A chart, or a sentence that says why there is none. */
static lh_status chart(lh_string *out, const lh_plot *plot, lh_error *error)
{
    lh_error fault = {0};
    lh_status status = lh_plot_svg(plot, out, &fault);
    if (status == LH_E_UNSUPPORTED) {
        lh_string_print(out, "<p class=given>No chart: gnuplot is not installed.</p>\n");
        return LH_OK;
    }
    return status == LH_OK ? LH_OK : lh_fail(error, status, "%s", fault.message);
}

static lh_status read_first(lh_curve *curve, const char *path, const char *part, const char **unit, lh_error *error)
{
    static const char *const units[] = {"bits_per_byte", "bits_per_character", "word_perplexity", "nats_per_token",
                                        "loss"};
    char key[64];
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (*unit && strcmp(*unit, units[i]) != 0) {
            continue;
        }
        (void)snprintf(key, sizeof key, "%s/%s", part, units[i]);
        LH_TRY(lh_curve_read(curve, path, key, error));
        if (curve->count > 0) {
            *unit = units[i];
            return LH_OK;
        }
        lh_curve_free(curve);
    }
    return LH_OK;
}

static void unit_text(char *text, size_t size, const char *unit)
{
    (void)snprintf(text, size, "%s", unit ? unit : "loss");
    for (char *c = text; *c; c++) {
        *c = *c == '_' ? ' ' : *c;
    }
}

static lh_status learning_section(const lh_report *report, lh_string *out, lh_error *error)
{
    lh_curve train = {0}, held_out = {0}, speed = {0};
    const char *unit = NULL;
    char *path = lh_path_join(report->run, LH_FILE_METRICS), label[64];
    if (!path) {
        return lh_fail(error, LH_E_MEMORY, "no memory for a report");
    }
    lh_status status = LH_OK;
    if (lh_file_exists(path)) {
        status = read_first(&train, path, "train", &unit, error);
        if (status == LH_OK) {
            status = read_first(&held_out, path, "validation", &unit, error);
        }
        if (status == LH_OK) {
            status = lh_curve_read(&speed, path, "train/tokens_per_second", error);
        }
    }
    if (status == LH_OK && train.count > 0) {
        unit_text(label, sizeof label, unit);
        lh_string_print(out, "<section><h2>How it learned</h2>\n");
        lh_plot plot = {.title = "loss by step", .x_label = "step", .y_label = label, .series_count = 1};
        plot.series[0] = (lh_plot_series){"training", train.x, train.y, train.count};
        if (held_out.count > 0) {
            plot.series[plot.series_count++] = (lh_plot_series){"held out", held_out.x, held_out.y, held_out.count};
        }
        status = chart(out, &plot, error);
        lh_string_print(out, "<p class=given>Last training value %.4f %s", train.y[train.count - 1], label);
        if (held_out.count > 0) {
            lh_string_print(out, ", last held-out value %.4f", held_out.y[held_out.count - 1]);
        }
        if (speed.count > 0) {
            lh_string_print(out, "; %.0f tokens per second at the end", speed.y[speed.count - 1]);
        }
        lh_string_print(out, ".</p></section>\n");
    }
    lh_curve_free(&train);
    lh_curve_free(&held_out);
    lh_curve_free(&speed);
    lh_heap_free(path);
    return status;
}

static lh_status position_section(const lh_report *report, lh_string *out, lh_error *error)
{
    const lh_reading *r = report->reading;
    double x[LH_REPORT_BINS], y[LH_REPORT_BINS];
    int64_t count = 0;
    for (int i = 0; i < LH_REPORT_BINS; i++) {
        if (r->bin_bytes[i] > 0.0) {
            x[count] = ((double)i + 0.5) / LH_REPORT_BINS * r->bytes / 1024.0;
            y[count++] = r->bin_nats[i] / log(2.0) / r->bin_bytes[i];
        }
    }
    lh_string_print(out, "<section><h2>Where in the text it does well</h2>\n<p>Bits per byte of ");
    escaped(out, report->data);
    lh_string_print(out, ", in %d equal parts.</p>\n", LH_REPORT_BINS);
    lh_plot plot = {.title = "bits per byte by position",
                    .x_label = "position (KiB)",
                    .y_label = "bits per byte",
                    .series_count = 1};
    plot.series[0] = (lh_plot_series){NULL, x, y, count};
    LH_TRY(chart(out, &plot, error));
    lh_string_print(out, "<details><summary>as a table</summary><table><tr><th>KiB<th>bits per byte</tr>\n");
    for (int64_t i = 0; i < count; i++) {
        lh_string_print(out, "<tr><td>%.0f<td>%.4f</tr>\n", x[i], y[i]);
    }
    lh_string_print(out, "</table></details></section>\n");
    return LH_OK;
}

static lh_status attention_section(const lh_report *report, lh_string *out, lh_error *error)
{
    const lh_attention_age *age = &report->reading->age;
    double x[LH_ATTENTION_MAX_SOURCES][LH_AGE_PARTS], y[LH_ATTENTION_MAX_SOURCES][LH_AGE_PARTS];
    if (age->layers_seen == 0.0) {
        return LH_OK;
    }
    lh_plot plot = {.title = "attention mass by age, oldest to newest",
                    .x_label = "sixths of each kind of keys, oldest left",
                    .y_label = "share of attention",
                    .bars = true,
                    .zero_based = true};
    lh_string_print(
        out, "<section><h2>What its attention falls on</h2>\n<p>Share of all attention, averaged over layers, "
             "heads and tokens; each kind of keys is cut into sixths by age.</p>\n");
    for (int s = 0; s < age->sources && plot.series_count < LH_PLOT_MAX_SERIES; s++) {
        for (int i = 0; i < LH_AGE_PARTS; i++) {
            x[s][i] = s * LH_AGE_PARTS + i + 1;
            y[s][i] = age->mass[s][i] / age->layers_seen;
        }
        plot.series[plot.series_count++] = (lh_plot_series){age->source[s], x[s], y[s], LH_AGE_PARTS};
    }
    LH_TRY(chart(out, &plot, error));
    lh_string_print(out, "<table><tr><th>keys<th>oldest<th><th><th><th><th>newest<th>sum</tr>\n");
    for (int s = 0; s < age->sources; s++) {
        double sum = 0.0;
        lh_string_print(out, "<tr><th>%s", age->source[s]);
        for (int i = 0; i < LH_AGE_PARTS; i++) {
            sum += y[s][i];
            lh_string_print(out, "<td>%.4f", y[s][i]);
        }
        lh_string_print(out, "<td>%.4f</tr>\n", sum);
    }
    lh_string_print(out, "</table></section>\n");
    return LH_OK;
}

static lh_status configuration_section(const lh_report *report, lh_string *out, lh_error *error)
{
    lh_string text = {0};
    char *path = lh_path_join(report->run, LH_FILE_RECIPE), *recipe = NULL;
    size_t size;
    if (path && lh_file_exists(path)) {
        LH_TRY(lh_file_read(path, (size_t)1 << 24, &recipe, &size, error));
    } else {
        lh_recipe_write(report->model->recipe, false, &text);
    }
    lh_string_print(out, "<section><h2>Configuration</h2><details><summary>the whole recipe</summary><pre>");
    escaped(out, recipe ? recipe : text.data);
    lh_string_print(out, "</pre></details></section>\n");
    lh_heap_free(recipe);
    lh_heap_free(path);
    lh_string_free(&text);
    return LH_OK;
}

static void tiles(const lh_report *report, lh_string *out)
{
    const lh_reading *r = report->reading;
    lh_string_print(out, "<div class=tiles>\n");
    tile(out, "parameters (millions)", "%.2f", (double)lh_parameters_elements(&report->model->parameters) / 1e6);
    if (r) {
        tile(out, "bits per byte on this text", "%.3f", r->nats / log(2.0) / (r->bytes > 0.0 ? r->bytes : 1.0));
        tile(out, "tokens read per second", "%.0f", r->tokens / (r->seconds > 0.0 ? r->seconds : 1.0));
        tile(out, "state of one document (MB)", "%.2f", (double)r->state_bytes / 1e6);
    }
    lh_string_print(out, "</div>\n");
}

lh_status lh_report_html(const lh_report *report, lh_string *out, lh_error *error)
{
    const lh_model_config *c = &report->model->config;
    lh_string_print(out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport "
                         "content=\"width=device-width\"><title>");
    escaped(out, report->title);
    lh_string_print(out, "</title>\n%s</head><body><main>\n<h1>", style);
    escaped(out, report->title);
    lh_string_print(out,
                    "</h1>\n<p class=sub>%s memory, %lld layers, width %lld, %lld heads, segments of %lld tokens",
                    report->model->memory_kind->name, (long long)c->layers, (long long)c->width,
                    (long long)c->heads, (long long)c->segment);
    if (report->step >= 0) {
        lh_string_print(out, ", step %lld", (long long)report->step);
    }
    lh_string_print(out, "</p>\n");
    tiles(report, out);
    LH_TRY(learning_section(report, out, error));
    if (report->reading) {
        LH_TRY(position_section(report, out, error));
        LH_TRY(attention_section(report, out, error));
    }
    if (report->passage) {
        lh_string_print(out, "<section><h2>What it writes</h2><pre><span class=given>");
        escaped(out, report->prompt);
        lh_string_print(out, "</span>");
        escaped(out, report->passage);
        lh_string_print(out, "</pre></section>\n");
    }
    LH_TRY(configuration_section(report, out, error));
    lh_string_print(out, "<p class=given>longhand %s</p></main></body></html>\n", lh_version());
    return out->failed ? lh_fail(error, LH_E_MEMORY, "no memory for the report") : LH_OK;
}
