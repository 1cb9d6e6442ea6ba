/* evaluate_report.h - the page: every table and figure of a set of records in one file that needs no other. */
#ifndef AMMPL_EXAMPLES_EVALUATE_REPORT_H
#define AMMPL_EXAMPLES_EVALUATE_REPORT_H

#include "common/app.h"
#include "evaluate_record.h"

/* Writes folder/index.html, and the figures as SVG and PNG with the data and scripts they are drawn from.  Figures masks-*.png that
 * are in the folder become part of the page.  reference: as tables_make has it. */
bool report_write(struct app *app, const char *folder, const struct record *record, size_t count, const char *reference);

#endif
