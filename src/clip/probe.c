/* probe.c - 16 numbers that tell one CLIP from another whatever its file's naming or dtype (contract.md, "Prompt files"). */
#include "clip/tower.h"

enum { HALF = 8 };

/* First 8 components (fewer in a narrower model, then zeros) of norm(feature [1,E]). */
static ammpl_status first_components(ammpli_engine *e, const float *feature, float out[HALF])
{
    int64_t E = e->model->embed;
    float *unit, *norm;
    TRY(ammpli_take_floats(e, E, &unit));
    TRY(ammpli_take_floats(e, 1, &norm));
    TRY(e->ops->l2norm_forward(e->stream, unit, norm, feature, 1, E));
    for (int i = 0; i < HALF; i++)
        out[i] = 0;
    return e->ops->download(e->stream, out, unit, (size_t)(E < HALF ? E : HALF) * sizeof(float));
}

static ammpl_status probe(ammpli_engine *e, ammpl_model *m)
{
    float *feature, *h;
    TRY(ammpli_take_floats(e, m->embed, &feature));
    TRY(ammpli_take_floats(e, m->image.width, &h));
    /* The text feature of [SOT EOT]. */
    int32_t empty[2] = {ammpli_tokenizer_sot(m->tokenizer), ammpli_tokenizer_eot(m->tokenizer)};
    int32_t *ids = empty;
    size_t len = 2;
    TRY(ammpli_text_features(e, &ids, &len, 1, feature));
    TRY(first_components(e, feature, m->probe));
    /* norm(ln_post(class embedding) projection). */
    TRY(e->ops->layernorm_forward(e->stream, h, m->class_embedding, m->image.ln_post_gamma, m->image.ln_post_beta, 1,
                                  m->image.width, m->image.eps));
    TRY(e->ops->linear_forward(e->stream, feature, NULL, h, m->image.projection, NULL, NULL, AMMPL_ACT_NONE, 1));
    return first_components(e, feature, m->probe + HALF);
}

ammpl_status ammpli_model_compute_probe(ammpl_model *m)
{
    ammpli_engine e;
    TRY(ammpli_engine_open(&e, m));
    ammpl_status status = probe(&e, m);
    ammpli_engine_close(&e);
    return status;
}
