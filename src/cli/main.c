#include "cli/cli.h"

#include <stdlib.h>
#include <unistd.h>

/* OpenMP's threads wait by spinning for milliseconds. On a machine that others use, too, a spinning thread takes
 * the very core that the thread it waits for needs: training was seen to slow down tenfold. A short spin and then
 * sleep costs little on an idle machine. The runtime reads its settings before main, so the program starts itself
 * once more; whoever sets one of these variables decides alone. */
static void wait_politely(char **argv)
{
    if (!getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT") && setenv("GOMP_SPINCOUNT", "1000", 0) == 0) {
        (void)execv("/proc/self/exe", argv); /* where that is not possible, it goes on as it is */
    }
}

int main(int argc, char **argv)
{
    wait_politely(argv);
    return lh_cli_main(argc, argv);
}
