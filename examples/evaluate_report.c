/* evaluate_report.c - see evaluate_report.h. */
#include "evaluate_report.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "evaluate_html.h"
#include "evaluate_plot.h"

struct report {
    struct app *app;
    const char *folder, *reference;
    const struct record *record;
    size_t count;
    struct plots plots;
    FILE *out;
};

/* ---- figures ---- */

/* A figure that was just made, or where its data are. */
static void put_figure(struct report *r, const char *name, const char *caption)
{
    char *path = allocate(strlen(r->folder) + strlen(name) + 8);
    sprintf(path, "%s/%s.svg", r->folder, name);
    if (r->plots.missing || !html_picture(r->out, path, caption))
        fprintf(r->out, "<p>%s: not drawn%s; <code>gnuplot %s.gp</code> makes it of <code>%s.dat</code>.</p>\n", caption,
                r->plots.missing ? " (there was no gnuplot)" : "", name, name);
    free(path);
}

static bool shots_figure(struct report *r, const char *protocol, const struct tables *tables)
{
    char name[64];
    const struct table **panel = allocate(tables->count * sizeof *panel);
    size_t n = 0;
    for (size_t i = 0; i < tables->count; i++)
        if (!tables->item[i].difference && strcmp(tables->item[i].columns.item[0], "0") != 0)
            panel[n++] = &tables->item[i];
    snprintf(name, sizeof name, "%s-shots", protocol);
    bool ok = n == 0 || plot_shots(&r->plots, name, panel, n);
    free(panel);
    if (ok && n != 0)
        put_figure(r, name, "Accuracy against the number of training pictures per class, mean over seeds (the paper's Figure 2)");
    return ok;
}

/* The row whose confusions are drawn: the reference where it is there, else the last one. */
static const char *confused_row(const struct report *r, const struct table *t)
{
    if (r->reference != NULL && list_find(&t->rows, r->reference) < t->rows.count)
        return r->reference;
    return t->rows.item[t->rows.count - 1];
}

static bool confusion_figures(struct report *r, const char *protocol, const struct tables *tables)
{
    struct list done = {NULL, 0, 0};
    bool ok = true;
    for (size_t i = 0; ok && i < r->count; i++) {
        char key[512];
        struct confusion c;
        size_t before = done.count;
        snprintf(key, sizeof key, "%s/%s", r->record[i].dataset, r->record[i].split);
        if (strcmp(r->record[i].protocol, protocol) != 0 || list_find_or_add(&done, key) < before)
            continue;
        if (confusion_make(r->record, r->count, protocol, r->record[i].dataset, r->record[i].split, confused_row(r, &tables->item[0]), &c)) {
            ok = plot_confusion(&r->plots, &c);
            char caption[400];
            snprintf(caption, sizeof caption, "%s: a row for each true class, a column for each predicted one", c.title);
            if (ok)
                put_figure(r, c.name, caption);
        }
        confusion_free(&c);
    }
    list_free(&done);
    return ok;
}

static int is_mask_figure(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return strncmp(entry->d_name, "masks-", 6) == 0 && n > 10 && strcmp(entry->d_name + n - 4, ".png") == 0;
}

static void put_masks(struct report *r)
{
    struct dirent **entry = NULL;
    int n = scandir(r->folder, &entry, is_mask_figure, alphasort);
    if (n > 0)
        fputs("<h2>Masks over training</h2>\n", r->out);
    for (int i = 0; i < n; i++) {
        char *path = allocate(strlen(r->folder) + strlen(entry[i]->d_name) + 2), caption[400];
        sprintf(path, "%s/%s", r->folder, entry[i]->d_name);
        snprintf(caption, sizeof caption, "%.*s: each picture, then keep probabilities, a sampled mask, the masked and the padded picture "
                                          "after more and more steps (the paper's Figure 3)",
                 (int)strlen(entry[i]->d_name) - 10, entry[i]->d_name + 6);
        html_picture(r->out, path, caption);
        free(path);
        free(entry[i]);
    }
    free(entry);
}

/* ---- words ---- */

static void put_details(struct report *r, const char *summary)
{
    fprintf(r->out, "<details><summary>%s</summary>\n", summary);
}

/* Under which options each row ran, and what it took. */
static void put_settings(struct report *r, const char *protocol)
{
    struct list done = {NULL, 0, 0};
    fputs("<table>\n<thead><tr><th>run</th><th>options that were set</th><th>runs</th><th>seconds a run</th><th>MiB at most</th></tr></thead>\n<tbody>\n",
          r->out);
    for (size_t i = 0; i < r->count; i++) {
        char key[4400], row[256];
        const struct record *one = &r->record[i];
        size_t before = done.count, runs = 0;
        double seconds = 0, peak = 0;
        if (strcmp(one->protocol, protocol) != 0)
            continue;
        record_row_name(one, row, sizeof row);
        snprintf(key, sizeof key, "%s on %s: %s", row, one->source, record_text(one, "settings"));
        if (list_find_or_add(&done, key) < before)
            continue;
        for (size_t k = i; k < r->count; k++)
            if (strcmp(r->record[k].protocol, protocol) == 0 && strcmp(r->record[k].method, one->method) == 0 &&
                strcmp(r->record[k].variant, one->variant) == 0 && strcmp(r->record[k].source, one->source) == 0 &&
                strcmp(record_text(&r->record[k], "settings"), record_text(one, "settings")) == 0) {
                runs++;
                seconds += json_number_value(json_object_get(r->record[k].json, "seconds"));
                double bytes = json_number_value(json_object_get(r->record[k].json, "peak_bytes"));
                peak = bytes > peak ? bytes : peak;
            }
        fputs("<tr><td>", r->out);
        html_text(r->out, row);
        fputs(" on ", r->out);
        html_text(r->out, one->source);
        fputs("</td><td style=\"text-align:left;white-space:normal\"><code>", r->out);
        html_text(r->out, record_text(one, "settings"));
        fprintf(r->out, "</code></td><td>%zu</td><td>%.1f</td><td>%.0f</td></tr>\n", runs, seconds / (double)runs, peak / 1048576);
    }
    fputs("</tbody></table>\n", r->out);
    list_free(&done);
}

static void put_intro(struct report *r)
{
    const struct record *one = &r->record[0];
    fputs("<p>Mean (standard deviation) over seeds, as the paper has it; the best of a column in bold. Where the paper has a number, it stands "
          "below ours with the difference. A 95 % confidence interval of the mean (Student's t over the seeds) shows when the pointer rests on a "
          "number. Made by ammpl-evaluate ", r->out);
    html_text(r->out, record_text(one, "library"));
    fputs(" with the CLIP <code>", r->out);
    html_text(r->out, record_text(one, "model"));
    fprintf(r->out, "</code>, from %zu lines of results.</p>\n", r->count);
}

/* ---- the page ---- */

static bool put_protocol(struct report *r, const char *protocol)
{
    struct tables tables, f1;
    char name[64];
    tables_make(r->record, r->count, protocol, METRIC_ACCURACY, r->reference, &tables);
    tables_make(r->record, r->count, protocol, METRIC_MACRO_F1, NULL, &f1);
    fprintf(r->out, "<h2>%s</h2>\n", protocol);
    bool ok = strcmp(protocol, "few-shot") != 0 || shots_figure(r, protocol, &tables);
    for (size_t i = 0; i < tables.count; i++)
        html_table(r->out, &tables.item[i]);
    put_details(r, "macro-F1");
    for (size_t i = 0; i < f1.count; i++)
        html_table(r->out, &f1.item[i]);
    fputs("</details>\n", r->out);
    size_t overall = tables.count;
    tables_make_classes(r->record, r->count, protocol, &tables);
    put_details(r, "each class: accuracy, and how many patches are masked");
    for (size_t i = overall; i < tables.count; i++)
        html_table(r->out, &tables.item[i]);
    fputs("</details>\n", r->out);
    put_details(r, "confusions");
    ok = ok && (overall == 0 || confusion_figures(r, protocol, &tables));
    fputs("</details>\n", r->out);
    put_details(r, "training curves");
    snprintf(name, sizeof name, "%s-training", protocol);
    size_t figures = r->plots.name.count;
    ok = ok && plot_curves(&r->plots, name, r->record, r->count, protocol);
    if (ok && r->plots.name.count > figures)
        put_figure(r, name, "Loss and accuracy on the training pictures, mean over seeds, after the largest number of shots");
    fputs("</details>\n", r->out);
    put_details(r, "options, time and memory");
    put_settings(r, protocol);
    fputs("</details>\n", r->out);
    tables_free(&tables);
    tables_free(&f1);
    return ok;
}

static bool put_page(struct report *r)
{
    struct list protocols = {NULL, 0, 0};
    bool ok = true;
    html_begin(r->out, "Prompt learning on a frozen CLIP: results");
    put_intro(r);
    for (size_t i = 0; i < r->count; i++)
        list_find_or_add(&protocols, r->record[i].protocol);
    for (size_t i = 0; ok && i < protocols.count; i++)
        ok = put_protocol(r, protocols.item[i]);
    put_masks(r);
    html_end(r->out);
    list_free(&protocols);
    return ok;
}

bool report_write(struct app *app, const char *folder, const struct record *record, size_t count, const char *reference)
{
    struct report r = {.app = app, .folder = folder, .reference = reference, .record = record, .count = count,
                       .plots = {.app = app, .folder = folder}};
    if (!app_make_folder(app, "report", folder))
        return false;
    char *path = allocate(strlen(folder) + 16);
    sprintf(path, "%s/index.html", folder);
    r.out = fopen(path, "w");
    bool ok = (r.out != NULL || app_fail(app, "--report: %s: %s", path, strerror(errno))) && put_page(&r);
    if (r.out != NULL) {
        bool failed = ferror(r.out) != 0;
        if ((fclose(r.out) != 0 || failed) && ok)
            ok = app_fail(app, "--report: %s cannot be written", path);
    }
    if (ok)
        app_say(app, "report: %s\n", path);
    if (ok && r.plots.missing)
        app_say(app, "there is no gnuplot, so that the figures are not drawn; their data and scripts are there: (cd %s && gnuplot *.gp)\n", folder);
    list_free(&r.plots.name);
    free(path);
    return ok;
}
