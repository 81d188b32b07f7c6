#include "train/schedule.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

double lh_schedule_rate(const lh_schedule *schedule, int64_t iteration, double progress)
{
    double peak = schedule->peak, final = schedule->final;
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
    }
    return peak;
}
