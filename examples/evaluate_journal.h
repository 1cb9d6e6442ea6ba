/* evaluate_journal.h - the results file: a line for each finished run, appended at once, read again to go on.
 *
 * A line that a power cut or a kill cut short is dropped when the file is opened; nothing else in it is ever changed.
 */
#ifndef AMMPL_EXAMPLES_EVALUATE_JOURNAL_H
#define AMMPL_EXAMPLES_EVALUATE_JOURNAL_H

#include "common/app.h"
#include "evaluate_record.h"

struct journal {
    const char *path;
    int file;
    struct records records; /* what it holds */
};

/* Adds a file's lines; false after a sentence when one is none. */
bool journal_read(struct app *app, const char *path, struct records *records);
/* Opens it for appending, for this process alone; reads what it holds. */
bool journal_open(struct app *app, struct journal *journal, const char *path);
/* Whole lines, written and synced before this returns; also added to the records. */
bool journal_append(struct app *app, struct journal *journal, const char *lines);
void journal_close(struct journal *journal);

#endif
