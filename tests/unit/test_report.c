/* The page's pieces: curves read back, charts drawn, attention mass by age, the reading's accounting. */
#include "support/tiny_model.h"

#include "report/metrics.h"
#include "report/plot.h"
#include "report/report.h"

#include <unistd.h>

static void curves_come_back(void **state)
{
    (void)state;
    char path[] = "/var/tmp/longhand-curve-XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    static const char lines[] =
        "{\"step\": 1, \"train/loss\": 2.5}\n{\"step\": 2, \"other\": 1}\n{\"step\": 3, "
        "\"train/loss\": null}\n{\"step\": 4, \"train/loss\": 1.25}\n{\"step\": 5, \"train/lo";
    assert_int_equal(write(descriptor, lines, sizeof lines - 1), sizeof lines - 1);
    (void)close(descriptor);
    lh_curve curve;
    lh_error error = {0};
    tiny_check(lh_curve_read(&curve, path, "train/loss", &error), &error);
    assert_int_equal(curve.count, 2);
    assert_true(curve.x[0] == 1.0 && curve.y[0] == 2.5 && curve.x[1] == 4.0 && curve.y[1] == 1.25);
    lh_curve_free(&curve);
    (void)unlink(path);
    assert_int_equal(lh_curve_read(&curve, path, "train/loss", &error), LH_E_IO);
}

static void charts_are_drawn(void **state)
{
    (void)state;
    if (system("command -v gnuplot >/dev/null 2>&1") != 0) {
        print_message("gnuplot is not installed\n");
        skip();
    }
    double x[] = {1, 2, 3}, y[] = {3, 1, 2};
    lh_plot plot = {.title = "a \"title\" `with` \\ everything", .x_label = "x", .y_label = "y", .series_count = 1};
    plot.series[0] = (lh_plot_series){"series", x, y, 3};
    for (int bars = 0; bars < 2; bars++) {
        lh_string svg = {0};
        lh_error error = {0};
        plot.bars = bars;
        tiny_check(lh_plot_svg(&plot, &svg, &error), &error);
        assert_memory_equal(svg.data, "<svg", 4);
        assert_non_null(strstr(svg.data, "</svg>"));
        lh_string_free(&svg);
    }
}

/* All the attention there is adds up to one, whatever it falls on; and every byte but the first is scored. */
static void attention_adds_up(void **state)
{
    (void)state;
    static const char *const kinds[] = {"memory.kind=none", "memory.kind=transformer-xl",
                                        "memory.kind=compressive"};
    static const int sources[] = {1, 2, 3};
    for (int k = 0; k < 3; k++) {
        lh_error error = {0};
        lh_recipe *recipe;
        lh_model *model;
        lh_tokenizer *tokenizer;
        lh_reading reading;
        const char *arguments[] = {"model.layers=2",  "model.width=16",           "model.heads=2",
                                   "model.segment=8", "model.positions=relative", kinds[k]};
        tiny_check(lh_recipe_create(&recipe, lh_model_recipe_tables(), NULL, 0, &error), &error);
        for (int i = 0; i < 6; i++) {
            tiny_check(lh_recipe_override(recipe, arguments[i], &error), &error);
        }
        tiny_check(lh_recipe_resolve(recipe, &error), &error);
        tiny_check(lh_model_create(&model, recipe, 256, lh_backend_cpu(), LH_F32, &error), &error);
        lh_recipe_free(recipe);
        tiny_check(lh_parameters_initialise(&model->parameters, 1, &error), &error);
        tiny_check(lh_tokenizer_create_bytes(&tokenizer, &error), &error);
        char text[100];
        for (int i = 0; i < 100; i++) {
            text[i] = (char)('a' + i % 7);
        }
        tiny_check(lh_reading_measure(&reading, model, tokenizer, text, sizeof text, NULL, NULL, &error), &error);
        assert_true(reading.tokens == 99.0 && reading.bytes == 99.0);
        assert_int_equal(reading.age.sources, sources[k]);
        assert_true(reading.age.layers_seen == 24.0); /* 12 whole segments of 2 layers */
        double sum = 0.0, nats = 0.0;
        for (int s = 0; s < reading.age.sources; s++) {
            for (int i = 0; i < LH_AGE_PARTS; i++) {
                sum += reading.age.mass[s][i];
            }
        }
        for (int i = 0; i < LH_REPORT_BINS; i++) {
            nats += reading.bin_nats[i];
        }
        assert_true(fabs(sum / reading.age.layers_seen - 1.0) < 1e-5);
        assert_true(fabs(nats - reading.nats) < 1e-9 * reading.nats);
        assert_int_equal(lh_reading_measure(&reading, model, tokenizer, text, 1, NULL, NULL, &error),
                         LH_E_ARGUMENT);
        lh_tokenizer_free(tokenizer);
        lh_model_free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curves_come_back),
        cmocka_unit_test(charts_are_drawn),
        cmocka_unit_test(attention_adds_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
