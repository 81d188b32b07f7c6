#include "report/report.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/progress.h"
#include "formats/model_dir.h"
#include "report/metrics.h"
#include "report/page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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
        status = lh_page_chart(out, &plot, error);
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
    lh_page_escape(out, report->data);
    lh_string_print(out, ", in %d equal parts.</p>\n", LH_REPORT_BINS);
    lh_plot plot = {.title = "bits per byte by position",
                    .x_label = "position (KiB)",
                    .y_label = "bits per byte",
                    .series_count = 1};
    plot.series[0] = (lh_plot_series){NULL, x, y, count};
    LH_TRY(lh_page_chart(out, &plot, error));
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
    LH_TRY(lh_page_chart(out, &plot, error));
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
    lh_page_escape(out, recipe ? recipe : text.data);
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
    lh_page_tile(out, "parameters (millions)", "%.2f",
                 (double)lh_parameters_elements(&report->model->parameters) / 1e6);
    if (r) {
        lh_page_tile(out, "bits per byte on this text", "%.3f",
                     r->nats / log(2.0) / (r->bytes > 0.0 ? r->bytes : 1.0));
        lh_page_tile(out, "tokens read per second", "%.0f", r->tokens / (r->seconds > 0.0 ? r->seconds : 1.0));
        lh_page_tile(out, "state of one document (MB)", "%.2f", (double)r->state_bytes / 1e6);
    }
    lh_string_print(out, "</div>\n");
}

lh_status lh_report_html(const lh_report *report, lh_string *out, lh_error *error)
{
    const lh_model_config *c = &report->model->config;
    lh_page_begin(out, report->title, "");
    lh_string_print(out, "<p class=sub>%s memory, %lld layers, width %lld, %lld heads, segments of %lld tokens",
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
        lh_page_escape(out, report->prompt);
        lh_string_print(out, "</span>");
        lh_page_escape(out, report->passage);
        lh_string_print(out, "</pre></section>\n");
    }
    LH_TRY(configuration_section(report, out, error));
    lh_page_end(out);
    return out->failed ? lh_fail(error, LH_E_MEMORY, "no memory for the report") : LH_OK;
}
