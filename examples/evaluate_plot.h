/* evaluate_plot.h - figures through gnuplot: NAME.dat and NAME.gp, which makes NAME.svg and NAME.png of it.
 *
 * Without gnuplot the first two are left for a machine that has it.
 */
#ifndef AMMPL_EXAMPLES_EVALUATE_PLOT_H
#define AMMPL_EXAMPLES_EVALUATE_PLOT_H

#include "common/app.h"
#include "evaluate_classes.h"

struct plots {
    struct app *app;
    const char *folder;
    struct list name; /* of the figures so far */
    bool missing;     /* there is no gnuplot */
};

/* Accuracy against shots, a panel for each table (data sets and their average), a line for each row: the paper's Figure 2. */
bool plot_shots(struct plots *plots, const char *name, const struct table *const *table, size_t count);
/* Loss and training accuracy over the epochs after the largest number of shots, a column of panels for each data set. */
bool plot_curves(struct plots *plots, const char *name, const struct record *record, size_t count, const char *protocol);
/* Rows are true classes, their shades the share of each prediction. */
bool plot_confusion(struct plots *plots, const struct confusion *confusion);

#endif
