/* zeroshot.c - CLIP as it is: hand-written descriptions, nothing learned (methods.md 5.1). */
#include "method/dual.h"
#include "method/methods.h"
#include "method/template.h"

static ammpl_status assemble(ammpl_session *s, const ammpl_prompt *p, const ammpl_batch *batch, float *const *grad, ammpli_sides *d)
{
    (void)s;
    (void)p;
    (void)batch;
    (void)grad;
    (void)d; /* nothing goes into the towers but descriptions and images */
    return AMMPL_OK;
}

const ammpli_method ammpli_method_zeroshot = {
    .id = AMMPL_METHOD_ZEROSHOT,
    .name = "zeroshot",
    .doc = "nothing: CLIP's own features and hand-written templates",
    .options = (const char *const[]){"template", NULL},
    .defaults = (const ammpli_default[]){{0}},
    .define = ammpli_templates_resolve,
    .bind = ammpli_templates_check,
    .infer = ammpli_infer_nothing,
    .conditioning = ammpli_unconditioned,
    .can_rebind = ammpli_yes,
    .cost = ammpli_dual_cost,
    .assemble = assemble,
    .predict = ammpli_dual_predict,
    .encode_classes = ammpli_dual_encode_classes,
};
