/* model_vocab.c - finding the vocabulary: bytes in hand, the vocab option, or beside the model. */
#include "io/model_parts.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LIMIT = 64 << 20 };

typedef struct vocab_files {
    void *merges, *json;
    size_t size, json_size;
    char name[300]; /* for sentences */
} vocab_files;

/* A folder's vocabulary, if it has one. */
static ammpl_status read_folder(const ammpli_model_source *folder, vocab_files *f)
{
    static const char *const names[] = {"merges.txt", "bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt"};
    for (size_t i = 0; i < 3 && !f->merges; i++) {
        TRY(ammpli_model_source_read(folder, names[i], &f->merges, &f->size));
        if (!f->merges)
            continue;
        snprintf(f->name, sizeof f->name, "%.250s%s", folder->folder, names[i]);
        if (i == 0) /* Hugging Face's pair; ids of OpenAI's file follow from its order */
            return ammpli_model_source_read(folder, "vocab.json", &f->json, &f->json_size);
    }
    return AMMPL_OK;
}

static ammpl_status read_option(ammpl_context *ctx, const char *path, vocab_files *f)
{
    struct stat st;
    size_t n = strlen(path);
    const char *slash = strrchr(path, '/');
    bool is_folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    size_t folder = is_folder ? n : slash ? (size_t)(slash - path) + 1 : 0;
    ammpli_model_source beside = {.ctx = ctx, .folder = ammpli_alloc(ctx, n + 2, 1)};
    if (!beside.folder)
        return AMMPL_E_MEMORY;
    memcpy(beside.folder, path, folder);
    if (is_folder && path[n - 1] != '/')
        beside.folder[n] = '/';
    ammpl_status status;
    if (is_folder) {
        status = read_folder(&beside, f);
        if (status == AMMPL_OK && !f->merges)
            status = ammpli_fail(AMMPL_E_IO, "%s: has neither merges.txt nor bpe_simple_vocab_16e6.txt[.gz] (option vocab)", path);
    } else {
        snprintf(f->name, sizeof f->name, "%.290s", path);
        status = ammpli_file_read(ctx, path, LIMIT, &f->merges, &f->size);
        if (status == AMMPL_OK && strcmp(path + folder, "merges.txt") == 0)
            status = ammpli_model_source_read(&beside, "vocab.json", &f->json, &f->json_size);
    }
    ammpli_free(ctx, beside.folder);
    return status;
}

ammpl_status ammpli_model_vocabulary(const ammpli_model_source *src, const ammpl_config *cfg, const void *merges,
                                     size_t merges_size, const char *vocab_json, ammpl_model *m)
{
    vocab_files f = {0};
    const char *option = ammpli_config_string(cfg, AMMPL_OPT_VOCAB);
    if (merges)
        return ammpli_tokenizer_create(src->ctx, merges, merges_size, vocab_json, m->vocab, "the vocabulary in memory",
                                       &m->tokenizer);
    ammpl_status status = *option ? read_option(src->ctx, option, &f) : src->folder ? read_folder(src, &f) : AMMPL_OK;
    if (status == AMMPL_OK && !f.merges)
        status = ammpli_fail(AMMPL_E_IO, "%s: has no vocabulary beside it: put CLIP's bpe_simple_vocab_16e6.txt.gz, or the model's own "
                             "merges.txt and vocab.json, there, or name one by the option vocab", src->name);
    if (status == AMMPL_OK)
        status = ammpli_tokenizer_create(src->ctx, f.merges, f.size, f.json, m->vocab, f.name, &m->tokenizer);
    ammpli_free(src->ctx, f.merges);
    ammpli_free(src->ctx, f.json);
    return status;
}
