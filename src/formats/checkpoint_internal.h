/* What writing and reading of checkpoints share. */
#ifndef LH_FORMATS_CHECKPOINT_INTERNAL_H
#define LH_FORMATS_CHECKPOINT_INTERNAL_H

#include <stddef.h>

#define CHECKPOINT_FORMAT "longhand-checkpoint-1"
#define CHECKPOINT_DIGITS 16
#define CHECKPOINT_UNSEALED "0000000000000000"

/* Finds the digits of the header's checksum in the header's text, or NULL. Inside a JSON string the quotes of the
 * key would be escaped, so that nothing else in a header can look like it. */
char *checkpoint_find_seal(char *header, size_t size);

#endif
