/* train_mpi CLIP_FOLDER PHOTOS OUT.safetensors [--backend NAME] [--backend-dir DIR] [NAME=VALUE ...]: data-parallel training with MPI.
 *
 *     mpirun -np 4 train_mpi clip-vit-b16 photos photos.safetensors method=ammpl batch=32 epochs=10
 *     mpirun -np 4 train_mpi clip-vit-b16 photos photos.safetensors --backend cuda method=ammpl batch=32 epochs=10
 *
 * Every rank holds a replica of the prompt and takes every ranks-th picture of each batch; gradients are added up over the ranks, and
 * each makes the same step.  The result is that of one process to float rounding: of ammpl-train with the same options, too, for
 * random draws (masks, crops) are keyed by the picture and the step, never by the place in the batch.  Rank 0 writes OUT.
 * Options are the library's, by name, and method (ammpl); `batch` is that of all ranks together.  The ranks of one machine take its
 * GPUs in turn.
 */
#include <ammpl/ammpl.h>
#include <mpi.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int rank, ranks;

/* ---- errors: a rank that fails must not leave the others waiting ---- */

static char complaint[1024];

/* Keeps the first complaint of this rank; false. */
static bool fail(const char *format, ...)
{
    if (complaint[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(complaint, sizeof complaint, format, arguments);
        va_end(arguments);
    }
    return false;
}

static bool done(ammpl_status status)
{
    return status >= 0 || fail("%s", ammpl_last_error());
}

/* True where all ranks say true; every rank asks at the same points. */
static bool all(bool mine)
{
    int ok = mine, everywhere = 0;
    MPI_Allreduce(&ok, &everywhere, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    return everywhere != 0;
}

/* ---- what a rank holds ---- */

struct run {
    ammpl_context *ctx;
    ammpl_config *config;
    ammpl_model *model;
    ammpl_dataset *data;
    ammpl_prompt *prompt;
    ammpl_session *session;
    ammpl_optimizer *optimizer;
    ammpl_method method;
    const char *backend, *folder; /* --backend, --backend-dir */
    size_t count, side, numbers; /* pictures, R, learned numbers in all tensors */
    int64_t epochs, batch, seed;
    bool shuffle, augment;
    int32_t *order; /* [count] of the epoch */
    float *pixels;  /* this rank's part of a batch */
    int32_t *label;
    uint32_t *id;
    float *gradient, *summed; /* [numbers], all tensors one behind the other */
};

/* Which of this machine's ranks this one is, and how many there are. */
static int place_here(int *neighbours)
{
    MPI_Comm machine;
    int place;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
    MPI_Comm_size(machine, neighbours);
    MPI_Comm_rank(machine, &place);
    MPI_Comm_free(&machine);
    return place;
}

/* The processors of this machine, shared by its ranks. */
static int32_t threads_for(int neighbours)
{
    long each = sysconf(_SC_NPROCESSORS_ONLN) / neighbours;
    return (int32_t)(each < 1 ? 1 : each > 256 ? 256 : each);
}

/* The device of that name ("cuda:1"), or of all that a backend ("cuda") has the one that is this rank's turn. */
static bool find_device(struct run *r, int place, const ammpl_device **device)
{
    const ammpl_device *own[64];
    int n = 0;
    *device = ammpl_device_find(r->ctx, r->backend);
    if (!*device && ammpl_context_scan_backends(r->ctx, r->folder) >= 0)
        *device = ammpl_device_find(r->ctx, r->backend);
    if (!*device)
        return fail("--backend %s: %s", r->backend, ammpl_last_error());
    for (size_t i = 0, length = strlen(r->backend); i < ammpl_device_count(r->ctx) && n < 64; i++) {
        const char *name = ammpl_device_name(ammpl_device_at(r->ctx, i));
        if (strncmp(name, r->backend, length) == 0 && name[length] == ':')
            own[n++] = ammpl_device_at(r->ctx, i);
    }
    if (n > 0)
        *device = own[place % n];
    return true;
}

static bool read_options(struct run *r, char **option)
{
    r->method = AMMPL_METHOD_AMMPL;
    r->backend = "cpu";
    for (; *option; option++) {
        bool backend = strcmp(*option, "--backend") == 0;
        if (backend || strcmp(*option, "--backend-dir") == 0) {
            const char *value = *++option;
            if (!value)
                return fail("%s wants a value", option[-1]);
            *(backend ? &r->backend : &r->folder) = value;
            continue;
        }
        char name[64] = "";
        const char *equals = strchr(*option, '=');
        if (!equals || (size_t)(equals - *option) >= sizeof name)
            return fail("'%s' is not NAME=VALUE", *option);
        memcpy(name, *option, (size_t)(equals - *option));
        if (!done(strcmp(name, "method") == 0 ? ammpl_method_find(equals + 1, &r->method)
                                              : ammpl_config_set_text(r->config, name, equals + 1)))
            return false;
    }
    return true;
}

/* The option in force in a run of the library's own, which knows the method's published settings. */
static const char *in_force(const ammpl_trainer *t, const char *name)
{
    const char *value = ammpl_trainer_option(t, name);
    return value ? value : "";
}

static bool settle_options(struct run *r)
{
    ammpl_trainer *t;
    if (!done(ammpl_trainer_create(r->session, r->prompt, r->data, r->config, &t)))
        return false;
    r->epochs = strtoll(in_force(t, "epochs"), NULL, 10);
    r->batch = strtoll(in_force(t, "batch"), NULL, 10);
    r->seed = strtoll(in_force(t, "seed"), NULL, 10);
    r->shuffle = strcmp(in_force(t, "shuffle"), "false") != 0;
    r->augment = strcmp(in_force(t, "augment"), "none") != 0;
    bool alike = strcmp(in_force(t, "accumulate"), "1") == 0 && strcmp(in_force(t, "drop_last"), "false") == 0;
    ammpl_trainer_destroy(t);
    return (alike || fail("train_mpi does without accumulate and drop_last")) &&
           done(ammpl_config_set_int(r->config, AMMPL_OPT_EPOCHS, r->epochs)) &&
           done(ammpl_optimizer_create(r->prompt, r->config, &r->optimizer));
}

static bool prepare(struct run *r, char **argv)
{
    const char *name[1000];
    const ammpl_device *device;
    int64_t side = 0;
    int neighbours, place = place_here(&neighbours);
    if (!done(ammpl_context_create(NULL, &r->ctx)) || !done(ammpl_context_set_threads(r->ctx, threads_for(neighbours))) ||
        !done(ammpl_config_create(r->ctx, &r->config)) || !read_options(r, argv + 4) || !find_device(r, place, &device) ||
        !done(ammpl_model_load_file(r->ctx, device, argv[1], r->config, &r->model)) ||
        !done(ammpl_dataset_open_folder(r->ctx, argv[2], "train", &r->data)))
        return false;
    r->count = ammpl_dataset_count(r->data);
    size_t classes = ammpl_dataset_class_count(r->data);
    if (classes > sizeof name / sizeof *name)
        return fail("%zu classes are more than this example provides for", classes);
    for (size_t i = 0; i < classes; i++)
        name[i] = ammpl_dataset_class_name(r->data, i);
    if (!done(ammpl_prompt_create(r->model, r->method, name, classes, r->config, &r->prompt)) ||
        !done(ammpl_session_create(r->model, r->config, &r->session)) || !settle_options(r) ||
        !done(ammpl_model_get_int(r->model, AMMPL_QUERY_IMAGE_SIZE, &side)))
        return false;
    r->side = (size_t)side;
    for (size_t i = 0; i < ammpl_prompt_tensor_count(r->prompt); i++) {
        ammpl_tensor_info info = {.struct_size = sizeof info};
        if (!done(ammpl_prompt_tensor_describe(r->prompt, i, &info)))
            return false;
        r->numbers += (size_t)info.count;
    }
    size_t part = (size_t)r->batch / (size_t)ranks + 1;
    r->order = calloc(r->count, sizeof *r->order);
    r->pixels = calloc(part * 3 * r->side * r->side, sizeof *r->pixels);
    r->label = calloc(part, sizeof *r->label);
    r->id = calloc(part, sizeof *r->id);
    r->gradient = calloc(r->numbers, sizeof *r->gradient);
    r->summed = calloc(r->numbers, sizeof *r->summed);
    if (!r->order || !r->pixels || !r->label || !r->id || !r->gradient || !r->summed)
        return fail("out of memory; take a smaller batch");
    for (size_t i = 0; i < r->count; i++)
        r->order[i] = (int32_t)i;
    return true;
}

static void release(struct run *r)
{
    free(r->order), free(r->pixels), free(r->label), free(r->id), free(r->gradient), free(r->summed);
    ammpl_optimizer_destroy(r->optimizer);
    ammpl_session_destroy(r->session);
    ammpl_prompt_destroy(r->prompt);
    ammpl_dataset_destroy(r->data);
    ammpl_model_destroy(r->model);
    ammpl_config_destroy(r->config);
    ammpl_context_destroy(r->ctx);
}

/* ---- a step ---- */

/* This rank's pictures of the batch of n that begins at order[from]; how many there are, -1 on failure. */
static int64_t load(struct run *r, size_t from, size_t n, uint32_t step)
{
    size_t k = 0, size = 3 * r->side * r->side;
    for (size_t i = (size_t)rank; i < n; i += (size_t)ranks, k++) {
        size_t item = (size_t)r->order[from + i];
        ammpl_image *picture;
        r->label[k] = ammpl_dataset_label(r->data, item);
        r->id[k] = (uint32_t)ammpl_dataset_image_id(r->data, item);
        if (!done(ammpl_dataset_load_image(r->data, item, &picture)))
            return -1;
        bool ok = done(r->augment ? ammpl_model_augment(r->model, picture, (uint64_t)r->seed, r->id[k], step,
                                                        r->pixels + k * size, size)
                                  : ammpl_model_preprocess(r->model, picture, r->pixels + k * size, size));
        ammpl_image_destroy(picture);
        if (!ok)
            return -1;
    }
    return (int64_t)k;
}

typedef ammpl_status (*tensor_fn)(struct run *r, size_t i, float *value, size_t n);

static ammpl_status read_gradient(struct run *r, size_t i, float *value, size_t n)
{
    return ammpl_prompt_gradient_read(r->prompt, i, value, n);
}
static ammpl_status write_gradient(struct run *r, size_t i, float *value, size_t n)
{
    return ammpl_prompt_gradient_write(r->prompt, i, value, n);
}
static ammpl_status read_value(struct run *r, size_t i, float *value, size_t n)
{
    return ammpl_prompt_tensor_read(r->prompt, i, value, n);
}

/* fn for every tensor, in one array [numbers]. */
static bool each_tensor(struct run *r, tensor_fn fn, float *all_values)
{
    for (size_t i = 0; i < ammpl_prompt_tensor_count(r->prompt); i++) {
        ammpl_tensor_info info = {.struct_size = sizeof info};
        if (!done(ammpl_prompt_tensor_describe(r->prompt, i, &info)) || !done(fn(r, i, all_values, (size_t)info.count)))
            return false;
        all_values += info.count;
    }
    return true;
}

/* DPT's auxiliary loss is a mean over the rows of the whole batch: how many this rank's pictures have. */
static bool own_rows(struct run *r, int64_t mine, long long *rows)
{
    size_t count = 0;
    bool ok =
        mine <= 0 || done(ammpl_session_aux_rows(r->session, r->prompt, r->pixels, r->label, (size_t)mine, &count));
    *rows = (long long)count;
    return mine >= 0 && ok;
}

/* Gradients of this rank's `mine` pictures, which may be none; weight 1/n makes the parts add up to the batch's mean. */
static bool own_gradients(struct run *r, int64_t mine, ammpl_batch *batch, double *loss)
{
    batch->n = (size_t)mine;
    batch->pixels = r->pixels;
    batch->label = r->label;
    batch->image_id = r->id;
    batch->seed = (uint64_t)r->seed;
    *loss = 0;
    return done(ammpl_prompt_zero_gradients(r->prompt)) &&
           (mine == 0 || done(ammpl_session_accumulate(r->session, r->prompt, batch, loss, NULL))) &&
           each_tensor(r, read_gradient, r->gradient);
}

/* The n pictures from order[from] on, as step `step` of `steps`. */
static bool train_step(struct run *r, size_t from, size_t n, int64_t epoch, int64_t step, int64_t steps, double *loss)
{
    int64_t mine = load(r, from, n, (uint32_t)step);
    long long own = 0, rows = 0;
    if (!all(own_rows(r, mine, &own)))
        return false;
    MPI_Allreduce(&own, &rows, 1, MPI_LONG_LONG, MPI_SUM, MPI_COMM_WORLD);
    ammpl_batch batch = {.struct_size = sizeof batch,
                         .step = (uint32_t)step,
                         .epoch = epoch,
                         .weight = 1.0 / (double)n,
                         .aux_weight = rows > 0 ? 1.0 / (double)rows : 0};
    double part;
    if (!all(own_gradients(r, mine, &batch, &part)))
        return false;
    MPI_Allreduce(r->gradient, r->summed, (int)r->numbers, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(&part, loss, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return all(each_tensor(r, write_gradient, r->summed) &&
               done(ammpl_optimizer_set_step(r->optimizer, epoch, step, steps)) &&
               done(ammpl_optimizer_step(r->optimizer)));
}

static bool train(struct run *r)
{
    int64_t step = 0, steps = r->epochs * (((int64_t)r->count + r->batch - 1) / r->batch);
    for (int64_t epoch = 0; epoch < r->epochs; epoch++) {
        double sum = 0;
        if (!all(!r->shuffle ||
                 done(ammpl_dataset_shuffle(r->data, (uint64_t)r->seed, (uint32_t)epoch, r->order, r->count))))
            return false;
        for (size_t from = 0; from < r->count; from += (size_t)r->batch, step++) {
            size_t left = r->count - from, n = left < (size_t)r->batch ? left : (size_t)r->batch;
            double loss;
            if (!train_step(r, from, n, epoch, step, steps, &loss))
                return false;
            sum += loss * (double)n;
        }
        if (rank == 0)
            printf("epoch %lld of %lld: loss %.6f\n", (long long)epoch + 1, (long long)r->epochs,
                   sum / (double)r->count);
    }
    return true;
}

/* The replicas must not have drifted apart: the same bits on every rank. */
static bool replicas_agree(struct run *r)
{
    bool ok = all(each_tensor(r, read_value, r->gradient));
    memcpy(r->summed, r->gradient, r->numbers * sizeof *r->summed);
    MPI_Bcast(r->summed, (int)r->numbers, MPI_FLOAT, 0, MPI_COMM_WORLD);
    return all(ok && (memcmp(r->summed, r->gradient, r->numbers * sizeof *r->summed) == 0 ||
                      fail("the replica of rank %d is not that of rank 0", rank)));
}

int main(int argc, char **argv)
{
    struct run r = {0};
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc < 4) {
        if (rank == 0)
            fprintf(stderr, "usage: train_mpi CLIP_FOLDER PHOTOS OUT.safetensors [--backend NAME] [--backend-dir DIR] [NAME=VALUE ...]\n");
        MPI_Finalize();
        return 2;
    }
    bool ok = all(prepare(&r, argv)) && train(&r) && replicas_agree(&r);
    ok = all(ok && (rank != 0 || done(ammpl_prompt_save_file(r.prompt, argv[3], 1))));
    if (complaint[0] != '\0')
        fprintf(stderr, "train_mpi: rank %d: %s\n", rank, complaint);
    release(&r);
    MPI_Finalize();
    return ok ? 0 : 1;
}
