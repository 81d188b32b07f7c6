#include "train/schedule.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

static double meliad(const lh_schedule *schedule, int64_t iteration)
{
    double warmup = (double)schedule->warmup, t = (double)iteration, s = fmax(t, warmup);
    double end = schedule->decay > 0 ? (double)schedule->decay : 1.0, part = s / end, rate = 0;
    switch (schedule->kind) {
    case LH_SCHEDULE_MELIAD_RSQRT_STD: rate = 1.0 / sqrt(fmax(s, 100)); break;
    case LH_SCHEDULE_MELIAD_RSQRT: rate = fmin(0.05, 0.001 / sqrt(fmax(s, 100) / end)); break;
    case LH_SCHEDULE_MELIAD_COSINE: rate = 0.001 + 0.009 * 0.5 * (1.0 + cos(pi * part)); break;
    default: rate = fmax(0.001, 0.001 + 0.009 * (1.0 - part)); break;
    }
    if (part >= 1 && (schedule->kind == LH_SCHEDULE_MELIAD_COSINE || schedule->kind == LH_SCHEDULE_MELIAD_LINEAR)) {
        rate = 0.002 * exp2(-part);
    }
    if (schedule->spike) {
        rate = fmax(rate, 0.04 * (10000.0 - s) / 10000.0);
    }
    return schedule->peak * rate * (warmup > 0 ? fmin(t, warmup) / warmup : 1.0);
}

double lh_schedule_rate(const lh_schedule *schedule, int64_t iteration, double progress)
{
    double peak = schedule->peak, final = schedule->final;
    if (schedule->kind >= LH_SCHEDULE_MELIAD_RSQRT_STD) {
        return meliad(schedule, iteration);
    }
    if (iteration < schedule->warmup) {
        return schedule->start + (peak - schedule->start) * (double)iteration / (double)schedule->warmup;
    }
    double part = schedule->decay > 0 ? (double)(iteration - schedule->warmup) / (double)schedule->decay : progress;
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    switch (schedule->kind) {
    case LH_SCHEDULE_CONSTANT: break;
    case LH_SCHEDULE_LINEAR: return peak + (final - peak) * part;
    case LH_SCHEDULE_COSINE: return final + (peak - final) * 0.5 * (1.0 + cos(pi * part));
    case LH_SCHEDULE_INVERSE_SQRT: {
        double from = schedule->warmup > 0 ? (double)schedule->warmup : 1.0;
        double now = (double)iteration > from ? (double)iteration : from;
        return fmax(peak * sqrt(from / now), final);
    }
    default: break;
    }
    return peak;
}
