#include "base/progress.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { PROGRESS_SILENT = -1, PROGRESS_PLAIN = 0, PROGRESS_LIVE = 1 };

/* Seconds between two drawings: a live line, and plain lines in a log. */
#define LIVE_INTERVAL 0.1
#define PLAIN_INTERVAL 20.0

double lh_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Scales by powers of 1000 until at most three digits stand before the point; rounding must not make "1000.0 k". */
static double scale(double value, int *power)
{
    static const double limits[2] = {999.5, 999.95};
    *power = 0;
    while (fabs(value) >= limits[*power > 0] && *power < 6) {
        value /= 1000;
        ++*power;
    }
    return value;
}

char *lh_format_bytes(char *buffer, size_t size, double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    int power;
    double value = scale(bytes, &power);
    (void)snprintf(buffer, size, power == 0 ? "%.0f %s" : "%.1f %s", value, units[power]);
    return buffer;
}

char *lh_format_count(char *buffer, size_t size, double count)
{
    static const char *const units[] = {"", " k", " M", " G", " T", " P", " E"};
    int power;
    double value = scale(count, &power);
    if (power == 0 && fabs(value) < 10 && value != floor(value)) {
        (void)snprintf(buffer, size, "%.2g", value);
    } else {
        (void)snprintf(buffer, size, power == 0 ? "%.0f%s" : "%.1f%s", value, units[power]);
    }
    return buffer;
}

char *lh_format_duration(char *buffer, size_t size, double seconds)
{
    if (!(seconds >= 0) || seconds > 1e9) {
        (void)snprintf(buffer, size, "?");
    } else if (seconds < 0.9995) {
        (void)snprintf(buffer, size, "%.0fms", seconds * 1e3);
    } else if (seconds < 59.95) {
        (void)snprintf(buffer, size, "%.1fs", seconds);
    } else {
        long long whole = llround(seconds);
        long long days = whole / 86400, hours = whole / 3600 % 24, minutes = whole / 60 % 60;
        if (days > 0) {
            (void)snprintf(buffer, size, "%lldd%02lldh", days, hours);
        } else if (hours > 0) {
            (void)snprintf(buffer, size, "%lldh%02lldm", hours, minutes);
        } else {
            (void)snprintf(buffer, size, "%lldm%02llds", minutes, whole % 60);
        }
    }
    return buffer;
}

static void format_amount(char *buffer, size_t size, double amount, const char *unit)
{
    char number[40];
    if (unit && strcmp(unit, "B") == 0) {
        (void)lh_format_bytes(buffer, size, amount);
    } else {
        (void)lh_format_count(number, sizeof number, amount);
        (void)snprintf(buffer, size, "%s%s%s", number, unit && *unit ? " " : "", unit ? unit : "");
    }
}

static void compose(const lh_progress *progress, const char *note, int finished, char *line, size_t size)
{
    char done[80], total[80] = "", rate[80] = "", left[40], eta[64] = "";
    double elapsed = lh_now() - progress->started;
    format_amount(done, sizeof done, (double)progress->done, progress->unit);
    if (progress->total > 0) {
        char amount[80];
        format_amount(amount, sizeof amount, (double)progress->total, progress->unit);
        double part = 100.0 * (double)progress->done / (double)progress->total;
        (void)snprintf(total, sizeof total, " of %.60s (%.0f%%)", amount, part);
    }
    double speed = elapsed > 0 ? (double)progress->done / elapsed : 0;
    if (speed > 0) {
        char amount[76];
        format_amount(amount, sizeof amount, speed, progress->unit);
        (void)snprintf(rate, sizeof rate, "  %s/s", amount);
    }
    if (finished) {
        (void)snprintf(eta, sizeof eta, "  in %s", lh_format_duration(left, sizeof left, elapsed));
    } else if (speed > 0 && progress->total > progress->done) {
        double seconds = (double)(progress->total - progress->done) / speed;
        (void)snprintf(eta, sizeof eta, "  %s left", lh_format_duration(left, sizeof left, seconds));
    }
    (void)snprintf(line, size, "%s: %s%s%s%s%s%s", progress->label, done, total, rate, eta, note ? "  " : "",
                   note ? note : "");
}

static int terminal_width(void)
{
    struct winsize window;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) {
        return window.ws_col;
    }
    return 80;
}

/* Bytes of UTF-8 that continue a character take no column. */
static int columns_of(const char *text)
{
    int columns = 0;
    for (; *text; text++) {
        columns += ((unsigned char)*text & 0xC0) != 0x80;
    }
    return columns;
}

/* Cuts the line before the terminal's last column, so that it never wraps. */
static void clip(char *line, int columns)
{
    for (char *at = line; *at; at++) {
        if (((unsigned char)*at & 0xC0) != 0x80 && columns-- == 0) {
            *at = '\0';
            return;
        }
    }
}

static void draw(lh_progress *progress, const char *note, int finished)
{
    char line[512];
    compose(progress, note, finished, line, sizeof line);
    if (progress->terminal == PROGRESS_LIVE) {
        clip(line, terminal_width() - 1);
        int width = columns_of(line);
        int blank = progress->drawn_width > width ? progress->drawn_width - width : 0;
        (void)fprintf(stderr, "\r%s%*s%s", line, blank, "", finished ? "\n" : "");
        progress->drawn_width = width;
    } else {
        (void)fprintf(stderr, "%s\n", line);
    }
    (void)fflush(stderr);
}

void lh_progress_start(lh_progress *progress, const char *label, const char *unit, uint64_t total)
{
    const char *quiet = getenv("LH_QUIET"), *terminal = getenv("TERM");
    *progress = (lh_progress){.label = label, .unit = unit, .total = total, .started = lh_now()};
    progress->last_drawn = progress->started;
    if (quiet && *quiet && strcmp(quiet, "0") != 0) {
        progress->terminal = PROGRESS_SILENT;
    } else if (isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0) {
        progress->terminal = PROGRESS_LIVE;
    } else {
        progress->terminal = PROGRESS_PLAIN;
    }
}

void lh_progress_update(lh_progress *progress, uint64_t done, const char *note)
{
    progress->done = done;
    if (progress->terminal == PROGRESS_SILENT) {
        return;
    }
    double now = lh_now();
    if (now - progress->last_drawn >= (progress->terminal == PROGRESS_LIVE ? LIVE_INTERVAL : PLAIN_INTERVAL)) {
        progress->last_drawn = now;
        draw(progress, note, 0);
    }
}

void lh_progress_finish(lh_progress *progress, const char *note)
{
    if (progress->terminal != PROGRESS_SILENT) {
        draw(progress, note, 1);
    }
}

static volatile sig_atomic_t pending_signal;

static void remember_signal(int number)
{
    if (pending_signal) {
        _exit(128 + number);
    }
    pending_signal = number;
}

void lh_signals_install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = remember_signal;
    (void)sigemptyset(&action.sa_mask);
    /* Restarted system calls: a write in progress is completed, the loop then sees the flag. */
    action.sa_flags = SA_RESTART;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

int lh_signals_pending(void)
{
    return pending_signal;
}
