/* evaluate_print.h - tables as text (Markdown) and as lines of JSON. */
#ifndef AMMPL_EXAMPLES_EVALUATE_PRINT_H
#define AMMPL_EXAMPLES_EVALUATE_PRINT_H

#include <stdio.h>

#include "evaluate_table.h"

/* "97.99(0.1)"; for one seed "97.99"; "" when there is nothing. */
void cell_text(const struct table *table, const struct cell *cell, char *text, size_t room);
/* The same for the paper's number, and for ours minus the paper's. */
void cell_paper_text(const struct cell *cell, char *text, size_t room);
void cell_gap_text(const struct cell *cell, char *text, size_t room);

void table_print(const struct table *table, FILE *out);
/* One object for each cell: {"table", "row", "column", "mean", "sd", "n", "ci95", "values", "paper", "paper_sd", "difference"}. */
void table_print_json(const struct table *table, size_t seeds, FILE *out);

#endif
