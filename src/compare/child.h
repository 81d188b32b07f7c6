/* Work in a process of its own: what it uses at its peak is known exactly, and when it runs out of memory or
 * crashes the caller goes on. */
#ifndef LH_COMPARE_CHILD_H
#define LH_COMPARE_CHILD_H

#include "base/text.h"

/* The work. Runs in the child, which ends when it returns; `answer` goes back to the caller. */
typedef lh_status (*lh_child_work)(void *user, lh_string *answer, lh_error *error);

/* Runs `work` and waits for it. Its status and sentence become this call's; death by a signal is LH_E_MEMORY
 * (killed) or LH_E_INTERNAL. *peak_bytes (may be NULL) is the largest resident memory of the child, mapped files
 * included. A signal that reaches the caller makes lh_child_stopped true in the child. When the caller dies, so
 * does the child. The calling process must not have run parallel regions: their threads do not exist in the child.
 */
lh_status lh_child_run(lh_child_work work, void *user, lh_string *answer, int64_t *peak_bytes, lh_error *error);

/* In the child: should it save and end with LH_E_INTERRUPTED? Fits lh_run_options.stop. */
bool lh_child_stopped(void *user);

#endif
