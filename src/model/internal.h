/* What the files of the forward pass share. */
#ifndef LH_MODEL_INTERNAL_H
#define LH_MODEL_INTERNAL_H

#include "model/model.h"

/* What a layer's checkpointed span needs beside its input. Lives in the context's arena. */
typedef struct lh_layer_span {
    const lh_model *model;
    lh_stream *stream;
    int layer;
    int64_t count, fill;     /* rows of this call, and those of the segment that came in earlier calls */
    lh_tensor *sinusoids;    /* after their dropout, shared by all layers */
    lh_tensor *positions;    /* i32 [count], rotary */
    lh_memory_seen *seen;    /* what the segment found, if layers run again */
    const lh_source *source; /* of an encoder, or NULL: there is none */
    bool encodes;            /* the layer is the encoder's */
} lh_layer_span;

/* forward.c */
lh_tensor *lh_model_norm(lh_context *context, const lh_model_config *c, lh_tensor *x, lh_tensor *gain,
                         lh_tensor *bias);
/* Embeds ids [batch, count] (host; negative: zeros). */
lh_tensor *lh_model_embed(lh_context *context, const lh_model *model, const int32_t *tokens, int64_t batch,
                          int64_t count);
/* Copies `value` [batch, rows, ..] into a store [batch, most rows, ..] from row `at` on. */
void lh_model_keep_rows(lh_context *context, lh_tensor *store, int64_t at, const lh_tensor *value);
/* How each head's queries and keys are normed: to length 1 (z / sqrt(sum z^2 + 1e-6)) or to root mean square 1. */
void lh_model_set_head_norm(const lh_model *model, lh_layer_io *io);
/* [batch, heads, tokens, value_width] -> output projection [batch, tokens, width]. mixer: the method's linear layer
 * over what each head gives, before it, or NULL: for more tokens than the model is wide it joins the projection's
 * weight. */
lh_tensor *lh_model_merge_heads(lh_context *context, const lh_model_config *c, lh_tensor *heads, lh_tensor *mixer,
                                lh_tensor *weight, lh_tensor *bias);
/* Places 0 .. count-1 behind `first`, of each of the tokens' rows, for rotary positions; NULL for others. */
lh_tensor *lh_model_places(lh_context *context, const lh_model *model, int64_t first, int64_t count);
/* Layers first .. first + layers - 1 on x, which is dropped. encoded: the encoder's result for those that look at
 * it, or NULL. The auxiliary losses are added to *auxiliary. */
lh_tensor *lh_model_run_layers(lh_context *context, const lh_layer_span *like, int64_t first, int64_t layers,
                               lh_tensor *x, lh_tensor *encoded, lh_tensor **auxiliary);

/* encoder.c */
/* What the decoder's layers look at, if there is an encoder: *source, and, in training, the encoder's result
 * [batch, source tokens, width]. In inference the stream keeps what they see of it, and NULL is returned. */
lh_tensor *lh_model_read_source(lh_context *context, const lh_model *model, lh_stream *stream,
                                const lh_source **source, lh_tensor **auxiliary);
/* Attention of an encoder's layer: the method's, or every token sees all of its source. */
lh_tensor *lh_model_attend_source(const lh_layer_span *span, lh_layer_io *io);
/* Cross attention of a decoder's layer on z: the method's, or every query sees all of its lane's source. Keys and
 * values come from the encoder's result, or, NULL, from what the stream has kept of it. */
lh_tensor *lh_model_cross_attention(lh_context *context, const lh_layer_span *span, lh_tensor *z,
                                    lh_tensor *encoded, lh_tensor **auxiliary);

#endif
