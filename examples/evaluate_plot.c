/* evaluate_plot.c - see evaluate_plot.h. */
#include "evaluate_plot.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- files ---- */

static FILE *create(struct plots *plots, const char *name, const char *suffix)
{
    char *path = allocate(strlen(plots->folder) + strlen(name) + strlen(suffix) + 2);
    sprintf(path, "%s/%s%s", plots->folder, name, suffix);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        app_fail(plots->app, "--report: %s: %s", path, strerror(errno));
    free(path);
    return file;
}

static bool close_file(struct plots *plots, const char *name, FILE *file)
{
    bool failed = ferror(file) != 0;
    return (fclose(file) == 0 && !failed) || app_fail(plots->app, "--report: %s/%s: cannot be written", plots->folder, name);
}

/* A string as gnuplot reads it: between double quotes it would even run what stands between backquotes. */
static void put_text(FILE *out, const char *text)
{
    putc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\' || *text == '`')
            putc('\\', out);
        putc(*text == '\n' ? ' ' : *text, out);
    }
    putc('"', out);
}

/* ---- gnuplot ---- */

/* Runs the script; its complaints go into the void, its status is what counts.  127: there is no gnuplot. */
static int run_gnuplot(const char *folder, const char *script)
{
    int state;
    fflush(NULL);
    pid_t process = fork();
    if (process == 0) {
        int nothing = open("/dev/null", O_WRONLY);
        if (nothing >= 0)
            dup2(nothing, STDERR_FILENO);
        if (chdir(folder) == 0)
            execlp("gnuplot", "gnuplot", script, (char *)NULL);
        _exit(errno == ENOENT ? 127 : 126);
    }
    while (process > 0 && waitpid(process, &state, 0) < 0)
        if (errno != EINTR)
            return 126;
    return process > 0 && WIFEXITED(state) ? WEXITSTATUS(state) : 126;
}

/* The script: `body` once for each kind of picture. */
static bool draw(struct plots *plots, const char *name, int width, int height, const char *body)
{
    FILE *out = create(plots, name, ".gp");
    char script[256];
    if (out == NULL)
        return false;
    fprintf(out, "# gnuplot %s.gp: makes %s.svg and %s.png of %s.dat\n", name, name, name, name);
    fprintf(out, "set terminal svg size %d,%d font \"sans,12\" background \"white\" noenhanced\nset output \"%s.svg\"\n%s", width,
            height, name, body);
    fprintf(out, "set output\nreset\nset terminal pngcairo size %d,%d font \"sans,12\" noenhanced\nset output \"%s.png\"\n%s", width,
            height, name, body);
    if (!close_file(plots, name, out))
        return false;
    list_add(&plots->name, name, strlen(name));
    snprintf(script, sizeof script, "%s.gp", name);
    int status = plots->missing ? 127 : run_gnuplot(plots->folder, script);
    plots->missing = plots->missing || status == 127;
    if (status != 0 && status != 127)
        app_say(plots->app, "%s/%s: gnuplot failed (status %d)\n", plots->folder, script, status);
    return true;
}

/* Colours that remain apart for the colour-blind, and marks. */
static void put_styles(FILE *body)
{
    static const char *const colour[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
                                         "#56B4E9", "#000000", "#8C564B", "#7F7F7F", "#B8B000"};
    for (int i = 0; i < 10; i++)
        fprintf(body, "set linetype %d lc rgb \"%s\" lw 2 pt %d ps 0.7\n", i + 1, colour[i], 4 + i);
    fputs("set linetype cycle 10\nset grid lt 1 lw 0.5 lc rgb \"#cccccc\"\n", body);
}

/* ---- accuracy against shots ---- */

/* Blocks by panel: shots, then mean and standard deviation of each row; "NaN" where there is nothing. */
static void put_panel(FILE *data, const struct table *t)
{
    fprintf(data, "# %s: shots, then mean and standard deviation of", t->title);
    for (size_t r = 0; r < t->rows.count; r++)
        fprintf(data, " %s;", t->rows.item[r]);
    for (size_t c = 0; c < t->columns.count; c++) {
        fprintf(data, "\n%s", t->columns.item[c]);
        for (size_t r = 0; r < t->rows.count; r++) {
            const struct cell *cell = table_at(t, r, c);
            fprintf(data, cell->s.n == 0 ? " NaN NaN" : " %.6g %.6g", cell->s.mean, cell->s.sd);
        }
    }
    fputs("\n\n\n", data);
}

/* What a row is drawn with: zero-shot is a dashed line; `line` counts the others. */
static void put_line(FILE *body, const char *row, const char *style, size_t *line)
{
    if (strcmp(row, "zeroshot") == 0)
        fputs("lines dt 2 lc rgb \"#555555\" lw 1.5 title ", body);
    else
        fprintf(body, "%s lt %zu title ", style, ++*line);
    put_text(body, row);
}

/* A panel with nothing in it but what the lines mean. */
static void plot_key(FILE *body, const struct list *rows, const char *style)
{
    size_t line = 0;
    fputs("set title \"\"\nunset border\nunset tics\nunset xlabel\nunset ylabel\nunset logscale\nunset grid\n"
          "set xrange [0:1]\nset yrange [0:1]\nset key center left Left reverse\nplot ", body);
    for (size_t r = 0; r < rows->count; r++) {
        fputs(r == 0 ? "NaN with " : ", NaN with ", body);
        put_line(body, rows->item[r], style, &line);
    }
    fputs("\n", body);
}

static void plot_panel(FILE *body, const char *name, const struct table *t, size_t block)
{
    size_t line = 0;
    const char *title = strstr(t->title, " on ") != NULL ? strstr(t->title, " on ") + 4 : "average";
    char short_title[128];
    snprintf(short_title, sizeof short_title, "%.*s", (int)strcspn(title, ","), title);
    fputs("set title ", body);
    put_text(body, short_title);
    fputs("\nset xtics (", body);
    for (size_t c = 0; c < t->columns.count; c++)
        fprintf(body, "%s\"%s\" %s", c == 0 ? "" : ", ", t->columns.item[c], t->columns.item[c]);
    fputs(")\nplot ", body);
    for (size_t r = 0; r < t->rows.count; r++) {
        fprintf(body, "%s\"%s.dat\" index %zu using 1:%zu with ", r == 0 ? "" : ", \\\n     ", name, block, 2 * r + 2);
        put_line(body, t->rows.item[r], "linespoints", &line);
    }
    fputs("\n", body);
}

bool plot_shots(struct plots *plots, const char *name, const struct table *const *table, size_t count)
{
    char *body = NULL;
    size_t size;
    int panels = (int)count + 1, columns = panels > 4 ? 4 : panels, rows = (panels + columns - 1) / columns;
    FILE *data = create(plots, name, ".dat"), *out = open_memstream(&body, &size);
    if (data == NULL || out == NULL)
        return false;
    put_styles(out);
    fprintf(out, "set xlabel \"training pictures per class\"\nset ylabel \"accuracy (%%)\"\nset logscale x 2\nset offsets graph 0.04, graph 0.04, graph 0.05, graph 0.05\n"
                 "set key off\nset multiplot layout %d,%d\n", rows, columns);
    for (size_t i = 0; i < count; i++) {
        put_panel(data, table[i]);
        plot_panel(out, name, table[i], i);
    }
    plot_key(out, &table[0]->rows, "linespoints");
    fputs("unset multiplot\n", out);
    fclose(out);
    bool ok = close_file(plots, name, data) && draw(plots, name, 60 + 380 * columns, 40 + 320 * rows, body);
    free(body);
    return ok;
}

/* ---- training curves ---- */

/* The mean over seeds of what happened in one epoch: NaN where the runs are of different lengths or there are none. */
static double mean_of(const struct record *const *run, size_t runs, const char *list, size_t epoch)
{
    double sum = 0;
    for (size_t i = 0; i < runs; i++)
        sum += record_number(run[i], list, epoch) / (double)runs;
    return runs == 0 ? NAN : sum;
}

/* The runs of one row on one data set with so many shots; tests on several data sets count once. */
static size_t runs_of(const struct record *record, size_t count, const char *protocol, const char *source, const char *row, int shots,
                      const struct record **run)
{
    size_t runs = 0;
    char name[256];
    for (size_t i = 0; i < count; i++) {
        record_row_name(&record[i], name, sizeof name);
        bool once = strcmp(record[i].dataset, source) == 0 && strcmp(record[i].split, "novel") != 0;
        if (once && strcmp(record[i].protocol, protocol) == 0 && strcmp(record[i].source, source) == 0 && strcmp(name, row) == 0 &&
            record[i].shots == shots && record_list_length(&record[i], "epoch_loss") != 0)
            run[runs++] = &record[i];
    }
    return runs;
}

struct curves {
    struct list sources, rows;
    int shots;
};

static void survey(const struct record *record, size_t count, const char *protocol, struct curves *c)
{
    char name[256];
    *c = (struct curves){.shots = 0};
    for (size_t i = 0; i < count; i++)
        if (strcmp(record[i].protocol, protocol) == 0 && record[i].shots > c->shots)
            c->shots = record[i].shots;
    for (size_t i = 0; i < count; i++)
        if (strcmp(record[i].protocol, protocol) == 0 && record[i].shots == c->shots && c->shots != 0) {
            record_row_name(&record[i], name, sizeof name);
            list_find_or_add(&c->sources, record[i].source);
            list_find_or_add(&c->rows, name);
        }
}

/* Data and plot of one panel; blocks are numbered in the order in which they are written. */
static void put_curves(FILE *data, FILE *out, const char *name, const struct curves *c, const struct record *record, size_t count,
                       const char *protocol, const char *source, const char *list, const char *label, size_t *block)
{
    const struct record **run = allocate(count * sizeof *run);
    const char *before = "plot ";
    fputs("set title ", out);
    put_text(out, source);
    fprintf(out, "\nset ylabel \"%s\"\n", label);
    for (size_t r = 0; r < c->rows.count; r++) {
        size_t runs = runs_of(record, count, protocol, source, c->rows.item[r], c->shots, run);
        size_t epochs = runs == 0 ? 0 : record_list_length(run[0], list);
        if (epochs == 0)
            continue;
        fprintf(data, "# %s, %s: epoch, %s (mean of %zu seeds)\n", source, c->rows.item[r], list, runs);
        for (size_t e = 0; e < epochs; e++)
            fprintf(data, "%zu %.6g\n", e + 1, mean_of(run, runs, list, e) * (list[6] == 'a' ? 100 : 1));
        fputs("\n\n", data);
        fprintf(out, "%s\"%s.dat\" index %zu using (100*$1/%zu):2 with lines lt %zu title ", before, name, (*block)++, epochs, r + 1);
        put_text(out, c->rows.item[r]);
        before = ", \\\n     ";
    }
    fputs("\n", out);
    free(run);
}

bool plot_curves(struct plots *plots, const char *name, const struct record *record, size_t count, const char *protocol)
{
    struct curves c;
    char *body = NULL;
    size_t size, block = 0;
    survey(record, count, protocol, &c);
    bool ok = true;
    if (c.sources.count != 0) {
        FILE *data = create(plots, name, ".dat"), *out = open_memstream(&body, &size);
        if (data == NULL || out == NULL)
            return false;
        put_styles(out);
        fprintf(out, "set xlabel \"%% of the training\"\nset key off\nset multiplot layout 2,%zu columnsfirst\n", c.sources.count + 1);
        for (size_t i = 0; i < c.sources.count; i++) {
            put_curves(data, out, name, &c, record, count, protocol, c.sources.item[i], "epoch_loss", "training loss", &block);
            put_curves(data, out, name, &c, record, count, protocol, c.sources.item[i], "epoch_accuracy", "training accuracy (%)", &block);
        }
        plot_key(out, &c.rows, "lines");
        fputs("unset multiplot\n", out);
        fclose(out);
        ok = close_file(plots, name, data) && (block == 0 || draw(plots, name, 60 + 380 * ((int)c.sources.count + 1), 620, body));
        free(body);
    }
    list_free(&c.sources);
    list_free(&c.rows);
    return ok;
}

/* ---- confusions ---- */

enum { NAMED = 60 }; /* more classes than this have no room for their names */

static void put_names(FILE *out, const char *axis, const struct list *names)
{
    fprintf(out, "set %s (", axis);
    for (size_t i = 0; names->count <= NAMED && i < names->count; i++) {
        fputs(i == 0 ? "" : ", ", out);
        put_text(out, names->item[i]);
        fprintf(out, " %zu", i);
    }
    fputs(names->count <= NAMED ? ")\n" : "\"\" 0)\n", out);
}

bool plot_confusion(struct plots *plots, const struct confusion *c)
{
    char *body = NULL;
    size_t size, n = c->classes.count;
    FILE *data = create(plots, c->name, ".dat"), *out = open_memstream(&body, &size);
    if (data == NULL || out == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t k = 0; k < n; k++)
            sum += c->count[i * n + k];
        for (size_t k = 0; k < n; k++)
            fprintf(data, "%s%.4g", k == 0 ? "" : " ", sum == 0 ? 0 : c->count[i * n + k] / sum);
        fputs("\n", data);
    }
    size_t longest = 0;
    for (size_t i = 0; n <= NAMED && i < n; i++)
        longest = strlen(c->classes.item[i]) > longest ? strlen(c->classes.item[i]) : longest;
    int names = 30 + 9 * (int)longest, inside = n <= NAMED ? 22 * (int)n + 60 : 600, width = names + inside + 110, height = names + inside + 50;
    fputs("set title ", out);
    put_text(out, c->title);
    fputs("\nset key off\nset palette defined (0 \"#ffffff\", 0.15 \"#cfe1f2\", 0.5 \"#4a90c2\", 1 \"#08306b\")\nset cbrange [0:1]\n"
          "set cblabel \"share of the class\"\n", out);
    fprintf(out, "set lmargin at screen %.4f\nset rmargin at screen %.4f\nset bmargin at screen %.4f\nset tmargin at screen %.4f\n",
            (double)names / width, (double)(names + inside) / width, (double)names / height, (double)(names + inside) / height);
    fprintf(out, "set xrange [-0.5:%zu.5]\nset yrange [%zu.5:-0.5]\n", n - 1, n - 1);
    put_names(out, "xtics rotate by 90 right", &c->classes);
    put_names(out, "ytics", &c->classes);
    fprintf(out, "plot \"%s.dat\" matrix with image\n", c->name);
    fclose(out);
    bool ok = close_file(plots, c->name, data) && draw(plots, c->name, width, height, body);
    free(body);
    return ok;
}
