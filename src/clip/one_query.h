/* one_query.h - attention in the last block, where one row of each picture is read (shortcut 9). */
#ifndef AMMPLI_ONE_QUERY_H
#define AMMPLI_ONE_QUERY_H

#include "clip/tower.h"

/* Decides by the sizes, and takes what the pass then needs; tower and blocks of the pass are set. */
ammpl_status ammpli_one_query_take(ammpli_engine *e, ammpli_pass *pass);
/* Block i of the pass computes its attention so. */
bool ammpli_one_query(const ammpli_pass *pass, int64_t i);
/* attn [B,D] = attention of the rows that are read to h [T,D], all rows behind LN1; backward needs query [B*H,D], share [B*H,L]. */
ammpl_status ammpli_one_query_forward(ammpli_engine *e, const ammpli_pass *pass, const float *h, float *query, float *share, float *attn);
/* dh [T,D] from dattn [B,D]. */
ammpl_status ammpli_one_query_backward(ammpli_engine *e, const ammpli_pass *pass, float *dh, const float *dattn, const float *h,
                                       const float *query, const float *share);

#endif
