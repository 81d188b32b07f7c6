/* INI text: [section] lines, `key = value` lines, and comments.
 *
 *   # a comment, as is a line that starts with ;
 *   [section]
 *   key = value       # a comment needs a blank before its # or ;
 *   key = "a value with # ; \" \\ \n \t and blanks at its ends "
 *
 * Leading blanks mean nothing, lines may have any length and may end with LF or CRLF, and a byte order mark at the
 * start is skipped. This is an own reader because a resolved recipe must read back as it was written: the packaged
 * inih silently splits a line after 199 bytes, takes an indented `key = value` for the continuation of the line
 * above, cuts quoted values at a semicolon, and does not tell its handler the line. */
#ifndef LH_FORMATS_INI_H
#define LH_FORMATS_INI_H

#include "base/error.h"
#include "base/text.h"

/* One line of the text. `section` is "" before the first section line; `key` and `value` are NULL for a section
 * line. The strings live until the handler returns. A status other than LH_OK ends the parsing and becomes its
 * result. */
typedef lh_status (*lh_ini_handler)(void *user, const char *section, const char *key, const char *value, int line,
                                    lh_error *error);

/* `name` is the file's name for messages, which read "<name>:<line>: ...". LH_E_CONFIG if a line is none of the
 * above, or if the text holds a NUL byte. */
lh_status lh_ini_parse(const char *name, const char *text, size_t size, lh_ini_handler handler, void *user,
                       lh_error *error);

/* Appends a value so that lh_ini_parse reads it back as it is: in quotes where they are needed. */
void lh_ini_append_value(lh_string *out, const char *value);

#endif
