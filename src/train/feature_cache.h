/* feature_cache.h - image features of a tower that training does not touch, encoded once (shortcut 5).
 *
 * With a folder they also outlive the run: one safetensors file per model and preprocessing, one tensor per picture, named by
 * the picture's content.  Such a file is never trusted and never an error: what does not fit is encoded again.
 */
#ifndef AMMPLI_FEATURE_CACHE_H
#define AMMPLI_FEATURE_CACHE_H

#include "data/dataset.h"
#include "method/session.h"

typedef struct ammpli_feature_cache ammpli_feature_cache;

/* For the pictures of ds, which must outlive it; folder "" = in memory only. */
ammpl_status ammpli_feature_cache_create(const ammpl_model *m, const ammpl_dataset *ds, const char *folder,
                                         ammpli_feature_cache **out);
/* Saves what is new, and lets go. */
void ammpli_feature_cache_destroy(ammpli_feature_cache *c);
/* Normalised plain features [n,E] of items (indices into ds), encoding those that are not there yet.  bad and skip_bad as for
 * ammpli_load_batch. */
ammpl_status ammpli_feature_cache_fetch(ammpli_feature_cache *c, ammpl_session *s, const int32_t *item, int64_t n, bool skip_bad,
                                        bool *bad, float *out);
/* Writes what is new to the folder; failing is a logged warning. */
void ammpli_feature_cache_save(ammpli_feature_cache *c);

#endif
