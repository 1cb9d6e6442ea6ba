/* progress.c - progress bars and Ctrl-C. */
#include "progress.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static bool silent, shown; /* shown: a bar is on the terminal */
static double last_drawn;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool on_terminal(void)
{
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && (term == NULL || strcmp(term, "dumb") != 0);
}

static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20 ? size.ws_col : 80;
}

static const char *clock_text(double seconds, char text[48])
{
    long s = seconds < 0 ? 0 : seconds > 359999 ? 359999 : (long)(seconds + 0.5);
    if (s < 3600)
        snprintf(text, 48, "%ld:%02ld", s / 60, s % 60);
    else
        snprintf(text, 48, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    return text;
}

/* before [#####-----] after, as wide as the terminal allows; at most ten times a second. */
static void draw(const char *before, const char *after, uint64_t done, uint64_t all)
{
    if (done < all && now() - last_drawn < 0.1)
        return;
    last_drawn = now();
    char bar[41];
    int width = columns() - 1 - (int)strlen(before) - (int)strlen(after) - 4;
    width = width > 40 ? 40 : width;
    if (width < 4) {
        fprintf(stderr, "\r%.*s\033[K", columns() - 1, after);
    } else {
        int full = all == 0 ? 0 : (int)(done * (uint64_t)width / all);
        memset(bar, '-', (size_t)width);
        memset(bar, '#', (size_t)full);
        bar[width] = '\0';
        fprintf(stderr, "\r%s [%s] %s\033[K", before, bar, after);
    }
    fflush(stderr);
    shown = true;
}

void progress_training(const ammpl_progress *p)
{
    char before[64], after[160], left[48];
    if (silent)
        return;
    unsigned long long step = p->step + 1, steps = p->steps, epoch = p->epoch + 1, epochs = p->epochs;
    if (on_terminal()) {
        snprintf(before, sizeof before, "epoch %llu/%llu", epoch, epochs);
        snprintf(after, sizeof after, "step %llu/%llu  loss %.4f  lr %.2g  %.1f images/s  %s left", step, steps,
                 p->loss, p->learning_rate, p->images_per_second, clock_text(p->seconds_left, left));
        draw(before, after, step, steps);
    }
    if (p->epoch_end && !isatty(STDOUT_FILENO)) {
        printf("epoch %llu/%llu  step %llu/%llu  loss %.4f  accuracy %.1f %%  lr %.2g  %.1f images/s  %s left\n", epoch,
               epochs, step, steps, p->epoch_loss, 100 * p->epoch_accuracy, p->learning_rate, p->images_per_second,
               clock_text(p->seconds_left, left));
        fflush(stdout);
    }
}

int32_t progress_evaluation(void *user, const ammpl_progress *p)
{
    char after[64];
    if (!silent && on_terminal()) {
        unsigned long long step = p->step + 1, steps = p->steps;
        snprintf(after, sizeof after, "batch %llu/%llu", step, steps);
        draw(user, after, step, steps);
    }
    return interrupt_seen();
}

void progress_share(const char *before, size_t done, size_t all, double share, double seconds_left)
{
    char after[96], left[48];
    if (silent || !on_terminal())
        return;
    snprintf(after, sizeof after, "run %zu/%zu  %s left", done < all ? done + 1 : all, all,
             seconds_left < 0 ? "?" : clock_text(seconds_left, left));
    draw(before, after, (uint64_t)(1000 * share), 1000);
}

void progress_clear(void)
{
    if (shown)
        fputs("\r\033[K", stderr);
    shown = false;
}

void progress_silence(void)
{
    progress_clear();
    silent = true;
}

/* ---- Ctrl-C ---- */

static ammpl_session *watched;
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
    ammpl_session_cancel(watched);
}

void interrupt_watch(ammpl_session *session)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    watched = session;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

bool interrupt_seen(void)
{
    return interrupted != 0;
}
