/* feature_cache.h - image features of a tower that training does not touch, encoded once (shortcut 5).
 *
 * With a folder they also outlive the run (feature_file.h).  A folder or file that does not serve is a logged warning, never an
 * error: what is not there is encoded.
 */
#ifndef AMMPLI_FEATURE_CACHE_H
#define AMMPLI_FEATURE_CACHE_H

#include "data/dataset.h"
#include "method/session.h"

typedef struct ammpli_feature_cache ammpli_feature_cache;

/* For the pictures of ds, encoded by s; both must outlive it.  folder "" = in memory only. */
ammpl_status ammpli_feature_cache_create(ammpl_session *s, const ammpl_dataset *ds, const char *folder, ammpli_feature_cache **out);
/* Writes what is new to the folder, and lets go. */
void ammpli_feature_cache_destroy(ammpli_feature_cache *c);
/* Normalised plain features [n,E] of items (indices into ds), encoding those that are not there yet.  bad and skip_bad as for
 * ammpli_load_batch. */
ammpl_status ammpli_feature_cache_fetch(ammpli_feature_cache *c, const int32_t *item, int64_t n, bool skip_bad, bool *bad,
                                        float *out);
/* Writes what is new after the first whole epoch: that is all of it, or nearly. */
void ammpli_feature_cache_epoch_end(ammpli_feature_cache *c);

#endif
