/* What a comparison is told, in the order in which it was told: a recipe file and the arguments of the command
 * line.
 *
 * Beside the sections that every recipe has, a compare recipe has [compare], and sections for one method alone:
 * [compressive:memory] is [memory] of the method compressive. */
#ifndef LH_COMPARE_SOURCES_H
#define LH_COMPARE_SOURCES_H

#include "base/text.h"

/* One text in INI form; what comes later is stronger. */
typedef struct lh_compare_source {
    char *name; /* for messages: the file, or "command line" */
    char *text;
} lh_compare_source;

typedef struct lh_compare_sources {
    lh_compare_source *items;
    size_t count, capacity;
} lh_compare_sources;

/* Zero-initialise. Adds a text, a file, or an argument "section.key=value", "METHOD:section.key=value" or
 * "preset=NAME". */
lh_status lh_compare_sources_add(lh_compare_sources *sources, const char *name, const char *text, lh_error *error);
lh_status lh_compare_sources_read(lh_compare_sources *sources, const char *path, lh_error *error);
lh_status lh_compare_sources_argument(lh_compare_sources *sources, const char *argument, lh_error *error);
void lh_compare_sources_free(lh_compare_sources *sources);

/* The lines of `text` that are meant for one reader; the others are left empty, so that lines keep their numbers.
 * Section [NAME:memory] is written as [memory] to the reader NAME. */
#define LH_READER_COMPARE "compare" /* the section [compare] alone */
#define LH_READER_SHARED ""         /* the sections of every method, and what stands before the first section */
#define LH_READER_MEMORY "[memory]" /* of a method's own text: the section [memory] */
#define LH_READER_REST "[rest]"     /* of a method's own text: all other sections */
void lh_compare_pick(const char *text, const char *reader, lh_string *out);

/* Calls `see` for each section line that names a method, with that name and the line's number. */
lh_status lh_compare_method_sections(const lh_compare_source *source,
                                     lh_status (*see)(void *user, const char *method, int line, lh_error *error),
                                     void *user, lh_error *error);

#endif
