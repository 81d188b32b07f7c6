#include "compare/results.h"

#include "kernels/table.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static void cpu_name(char *name, size_t size)
{
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "r");
    (void)snprintf(name, size, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (colon && strncmp(line, "model name", 10) == 0) {
            colon += 1 + strspn(colon + 1, " \t");
            (void)snprintf(name, size, "%.*s", (int)strcspn(colon, "\n"), colon);
            break;
        }
    }
    if (file) {
        (void)fclose(file);
    }
}

json_t *lh_machine_describe(int threads)
{
    char cpu[256], system[512] = "unknown";
    struct utsname about;
    long cores = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    cpu_name(cpu, sizeof cpu);
    if (uname(&about) == 0) {
        (void)snprintf(system, sizeof system, "%.100s %.100s %.100s", about.sysname, about.release, about.machine);
    }
    return json_pack("{s:s, s:I, s:I, s:I, s:s, s:s, s:s}", "cpu", cpu, "cores", (json_int_t)cores, "threads",
                     (json_int_t)(threads > 0 ? threads : cores), "memory_bytes", (json_int_t)pages * page,
                     "system", system, "kernels", lh_cpu_level_name(lh_cpu_best_level()), "compiler", __VERSION__);
}
