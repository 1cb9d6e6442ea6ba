/* steplog.c - the JSONL log of a training run. */
#include "steplog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"

static bool fail(struct step_log *log)
{
    if (log->error == 0)
        log->error = errno != 0 ? errno : EIO;
    return false;
}

bool step_log_open(struct step_log *log, const char *path, bool resumed)
{
    *log = (struct step_log){.resumed = resumed && path != NULL};
    if (path == NULL)
        return true;
    log->file = fopen(path, resumed ? "a+" : "w");
    return log->file != NULL || fail(log);
}

/* The run that wrote this file went further than the state that is resumed: cuts it before `step`. */
static bool drop_from(struct step_log *log, uint64_t step)
{
    char *line = NULL;
    size_t size = 0;
    long end = 0;
    unsigned long long at;
    rewind(log->file);
    while (getline(&line, &size, log->file) >= 0) {
        if (sscanf(line, "{\"step\": %llu", &at) == 1 && at >= step)
            break;
        end = ftell(log->file);
    }
    free(line);
    return fflush(log->file) == 0 && ftruncate(fileno(log->file), end) == 0 && fseek(log->file, 0, SEEK_END) == 0;
}

bool step_log_write(struct step_log *log, const ammpl_progress *p)
{
    if (log->file == NULL)
        return true;
    if (log->resumed && !drop_from(log, p->step))
        return fail(log);
    log->resumed = false;
    fprintf(log->file, "{\"step\": %llu, \"epoch\": %llu, \"loss\": ", (unsigned long long)p->step,
            (unsigned long long)p->epoch);
    put_json_number(log->file, p->loss);
    fputs(", \"lr\": ", log->file);
    put_json_number(log->file, p->learning_rate);
    fprintf(log->file, ", \"images\": %llu}\n", (unsigned long long)p->images);
    if (p->epoch_end) {
        fprintf(log->file, "{\"epoch\": %llu, \"loss\": ", (unsigned long long)p->epoch);
        put_json_number(log->file, p->epoch_loss);
        fputs(", \"accuracy\": ", log->file);
        put_json_number(log->file, p->epoch_accuracy);
        fprintf(log->file, ", \"seconds\": %.3f, \"images_per_second\": %.2f}\n", p->epoch_seconds,
                p->images_per_second);
    }
    return fflush(log->file) == 0 || fail(log);
}

bool step_log_close(struct step_log *log)
{
    if (log->file == NULL)
        return log->error == 0;
    if (fclose(log->file) != 0)
        fail(log);
    log->file = NULL;
    return log->error == 0;
}

const char *step_log_error(const struct step_log *log)
{
    return strerror(log->error);
}
