#include "api/handles.h"
#include "train/request.h"
#include "train/run.h"
#include "train/units.h"

#include <math.h>

static bool stop(void *user)
{
    const longhand_training_options *o = user;
    return o->stop && o->stop(o->user);
}

static void watch(void *user, const lh_run_progress *now)
{
    const longhand_training_options *o = user;
    longhand_progress given = {.size = sizeof given,
                               .phase = now->phase,
                               .done = now->done,
                               .total = now->total,
                               .step = now->step,
                               .tokens = now->tokens,
                               .seconds = now->seconds,
                               .seconds_left = now->seconds_left,
                               .loss = now->loss,
                               .validation = now->validation,
                               .rate = now->rate,
                               .unit = lh_loss_unit_name(now->unit)};
    if (o->watch) {
        o->watch(o->user, &given);
    }
}

static longhand_training_report public_report(const lh_run_report *r)
{
    return (longhand_training_report){.step = r->step,
                                      .tokens = r->tokens,
                                      .parameters = r->parameters,
                                      .seconds = r->seconds,
                                      .tokens_per_second = r->tokens_per_second,
                                      .unit = lh_loss_unit_name(r->unit),
                                      .loss = r->loss,
                                      .validation = r->validation,
                                      .best = r->best,
                                      .best_step = r->best_step,
                                      .resumed = r->resumed,
                                      .finished = r->finished,
                                      .accuracy = r->accuracy};
}

static lh_status train(lh_recipe *recipe, const char *directory, longhand_training_options *o,
                       lh_run_report *report, lh_error *error)
{
    lh_run_options options = {
        .directory = directory, .must_exist = o->must_exist, .stop = stop, .watch = watch, .user = o};
    LH_TRY(lh_train_request_settle(recipe, error));
    return lh_run_train(recipe, &options, report, error);
}

static lh_status go_on(const char *directory, longhand_training_options *o, lh_run_report *report, lh_error *error)
{
    lh_recipe *recipe;
    o->must_exist = true;
    LH_TRY(lh_run_recipe(&recipe, directory, error));
    lh_status status = train(recipe, directory, o, report, error);
    lh_recipe_free(recipe);
    return status;
}

lh_status longhand_train(longhand_recipe *recipe, const char *directory, const longhand_training_options *options,
                         longhand_training_report *report, lh_error *error)
{
    longhand_training_options o = {0};
    lh_run_report found = {.unit = LH_UNIT_NATS, .loss = NAN, .validation = NAN, .best = NAN, .best_step = -1};
    LH_API_NEED(error, directory);
    LH_TRY(lh_api_take(&o, sizeof o, options, "longhand_training_options", error));
    if (report) {
        LH_TRY(lh_api_check(report, "longhand_training_report", error));
    }
    lh_status status =
        recipe ? train(recipe->recipe, directory, &o, &found, error) : go_on(directory, &o, &found, error);
    if (report) {
        longhand_training_report given = public_report(&found);
        lh_api_give(report, &given, sizeof given);
    }
    return status;
}
