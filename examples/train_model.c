/* Trains a model by a recipe, with a line of progress. Ctrl-C saves and ends; the same command goes on.
 *
 *   cc train_model.c $(pkg-config --cflags --libs longhand) -o train_model
 *   ./train_model compressive-tiny runs/book data.path=book.txt train.minutes=2 */
#include <longhand.h>

#include <signal.h>
#include <stdio.h>

static volatile sig_atomic_t stopped;

static void remember(int number)
{
    (void)number;
    stopped = 1;
}

static bool stop(void *user)
{
    (void)user;
    return stopped != 0;
}

static void show(void *user, const longhand_progress *now)
{
    int64_t *shown = user; /* the step of the last line */
    if (now->step >= *shown + 10) {
        printf("%s: step %lld, %lld tokens, %.4g %s, rate %.3g\n", now->phase, (long long)now->step,
               (long long)now->tokens, now->loss, now->unit, now->rate);
        fflush(stdout);
        *shown = now->step;
    }
}

int main(int argc, char **argv)
{
    lh_error error = {LH_OK, ""};
    longhand_recipe *recipe = NULL;
    longhand_model_info info = {.size = sizeof info};
    longhand_training_report report = {.size = sizeof report};
    longhand_training_options options = {.size = sizeof options};
    int64_t shown = 0;
    if (argc < 3) {
        fprintf(stderr, "usage: train_model RECIPE RUN [section.key=value ...]\n");
        return LH_E_ARGUMENT;
    }
    options.watch = show;
    options.stop = stop;
    options.user = &shown;
    signal(SIGINT, remember);
    lh_status status = longhand_recipe_create(&recipe, argv[1], &error);
    for (int i = 3; i < argc && status == LH_OK; i++) {
        status = longhand_recipe_set(recipe, argv[i], &error);
    }
    if (status == LH_OK && longhand_recipe_model_info(recipe, 256, &info, NULL) == LH_OK) {
        printf("about %lld parameters, memory %s\n", (long long)info.parameters, info.memory);
    }
    if (status == LH_OK) {
        status = longhand_train(recipe, argv[2], &options, &report, &error);
    }
    if (status == LH_OK || status == LH_E_INTERRUPTED) {
        printf("step %lld: %.4g %s in training, %.4g in validation, %.0f tokens per second\n",
               (long long)report.step, report.loss, report.unit, report.validation, report.tokens_per_second);
    }
    longhand_recipe_free(recipe);
    if (status != LH_OK) {
        fprintf(stderr, "train_model: %s\n", error.message);
    }
    return status;
}
