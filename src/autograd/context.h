/* A context: the place where eager ops run. It holds the tape, the memory of one step, the random offset of dropout
 * and the first error. One context belongs to one thread.
 *
 * Memory of a step. Every op result is a tensor whose header lives in the context's arena and whose data is a block
 * of the context's pool. A block is given back as soon as nobody refers to it: the handle (until its scope ends),
 * the tape (what a backward pass needs) or a view. After the first step of a fixed-shape loop nothing is asked of
 * the heap.
 *
 * Errors are sticky: after the first one every op returns NULL at once, NULL inputs are passed through, and model
 * code checks lh_context_status once per step. */
#ifndef LH_AUTOGRAD_CONTEXT_H
#define LH_AUTOGRAD_CONTEXT_H

#include "base/error.h"
#include "base/memory.h"
#include "kernels/args.h"
#include "tensor/backend.h"
#include "tensor/tensor.h"

typedef struct lh_context lh_context;
typedef struct lh_node lh_node;

/* One tape entry. Op authors fill it through lh_record. */
struct lh_node {
    lh_node *previous;
    const char *op;
    void (*backward)(lh_context *context, lh_node *node);
    lh_tensor **in;    /* graph inputs; entries may be NULL */
    lh_tensor **out;   /* results; data may be gone by the time of the backward pass unless saved */
    lh_tensor **saved; /* references the backward pass needs, NULL entries allowed */
    int ins, outs, saves;
    void *options;          /* arena memory of the op */
    lh_tensor *view_source; /* for views: whose gradient this result's gradient is a window into */
};

struct lh_context {
    const lh_backend *backend;
    lh_exec exec;
    lh_error error;
    lh_arena arena;
    lh_pool *pool;
    struct lh_context_tensor *tensors; /* all headers of this step, newest first */
    lh_node *tape;                     /* newest first */
    bool recording;                    /* ops record themselves when an input requires a gradient */
    bool training;                     /* dropout is on */
    bool recomputing;                  /* inside the second run of a checkpointed span: state must not change */
    uint64_t seed, random_offset;      /* dropout: each op takes a range of offsets */
    size_t peak_bytes;                 /* highest number of pool bytes in use since the last reset of this field */
};

/* threads 0: as many as OpenMP would use. */
lh_status lh_context_create(lh_context **context, const lh_backend *backend, int threads, lh_error *error);
void lh_context_free(lh_context *context);

/* Forgets the step: tape, tensors and the error. Handles of op results become invalid. */
void lh_context_reset(lh_context *context);

/* The first error since the last reset, copied to `error` (may be NULL). */
lh_status lh_context_status(const lh_context *context, lh_error *error);

/* ---- for callers ------------------------------------------------------------------------------------------------
 */

/* Runs the tape backwards from `loss` (one element; its gradient is 1 times `seed_gradient`). Gradients arrive in
 * the
 * ->grad of every tensor that requires one: parameters keep theirs, those of results are released on the way. The
 * tape is empty afterwards. */
void lh_backward(lh_context *context, lh_tensor *loss, double seed_gradient);

/* Tensors made since the matching begin, except `keep` ones, give up their data unless the tape needs it. */
typedef struct lh_scope {
    struct lh_context_tensor *mark;
} lh_scope;
lh_scope lh_scope_begin(lh_context *context);
void lh_scope_end(lh_context *context, lh_scope scope, int keep_count, lh_tensor *const *keep);

/* Gradient checkpointing: runs function(context, user, inputs, outputs) without a tape and again, with the same
 * random offsets, in the backward pass (Chen et al. 2016). outputs are filled by the function. Gradients flow to
 * `inputs` and to the parameters that the function uses. State changes belong outside, or behind
 * !context->recomputing. */
typedef void (*lh_span)(lh_context *context, void *user, lh_tensor *const *inputs, lh_tensor **outputs);
void lh_recompute(lh_context *context, lh_span function, void *user, int input_count, lh_tensor *const *inputs,
                  int output_count, lh_tensor **outputs);

/* A constant from host memory (copied), of the given dtype. */
lh_tensor *lh_from_host(lh_context *context, lh_dtype dtype, int ndim, const int64_t *shape, const void *host);
/* The tensor's elements as doubles (f32/f64/f16/bf16/i32); count elements of `host` are filled. Any strides. */
void lh_to_host(lh_context *context, const lh_tensor *tensor, double *host);
/* The value of a tensor with one element; 0 after an error. */
double lh_scalar(lh_context *context, const lh_tensor *tensor);

/* ---- for op authors ---------------------------------------------------------------------------------------------
 */

/* Sets the sticky error with "<op>: <message>" and returns NULL. */
lh_tensor *lh_op_fail(lh_context *context, lh_status status, const char *op, const char *format, ...)
    LH_PRINTF(4, 5);
/* True if the context has failed already: the op then returns NULL and looks at none of its inputs. */
bool lh_op_stopped(const lh_context *context);

/* A fresh result; contents undefined unless `zero`. NULL after an error. */
lh_tensor *lh_new(lh_context *context, lh_dtype dtype, int ndim, const int64_t *shape, bool zero);
lh_tensor *lh_new_like(lh_context *context, const lh_tensor *like, bool zero);
/* Another header on the same storage with its own reference. */
lh_tensor *lh_alias(lh_context *context, const lh_tensor *tensor);
/* The tensor itself if contiguous, else a contiguous copy (no tape). */
lh_tensor *lh_packed(lh_context *context, lh_tensor *tensor);
/* Gives up a temporary's data before its scope ends. */
void lh_drop(lh_context *context, lh_tensor *tensor);

/* Takes a tensor made by this context out of the reach of scopes: it lives until lh_drop or the step's end. */
void lh_pin(lh_tensor *tensor);

/* Runs a kernel; errors become the context's. */
void lh_run(lh_context *context, lh_kernel_id kernel, lh_dtype dtype, const void *arguments);

/* How an op ends: the tensor, or NULL if something has failed since it was made. */
lh_tensor *lh_result(const lh_context *context, lh_tensor *tensor);

/* Must this op record itself: recording, and some input requires a gradient? */
bool lh_wants_grad(const lh_context *context, int count, lh_tensor *const *inputs);

/* Appends a tape entry and marks the outputs as requiring a gradient. `saved` tensors are aliased. `options` is
 * copied. Call only if lh_wants_grad. NULL after an error. */
lh_node *lh_record(lh_context *context, const char *op, void (*backward)(lh_context *, lh_node *), int ins,
                   lh_tensor *const *in, int outs, lh_tensor *const *out, int saves, lh_tensor *const *saved,
                   const void *options, size_t options_size);

/* Inside a backward function: */
/* The gradient of out[i], contiguous; NULL if nothing flowed into it. */
lh_tensor *lh_out_grad(lh_context *context, lh_node *node, int i);
/* The gradient buffer of in[i] to be added to (zeroed when fresh; maybe strided when in[i] is a view), or NULL if
 * that input wants none. */
lh_tensor *lh_in_grad(lh_context *context, lh_node *node, int i);
/* As lh_in_grad, but always contiguous and maybe uninitialised: write it with factor *beta (0 or 1) on the old
 * contents, then call lh_in_grad_commit. */
lh_tensor *lh_in_grad_packed(lh_context *context, lh_node *node, int i, double *beta);
void lh_in_grad_commit(lh_context *context, lh_node *node, int i, lh_tensor *packed);
/* Adds `gradient` (contiguous, same shape, a temporary of the caller's) to in[i]'s, taking it over when possible.
 */
void lh_in_grad_give(lh_context *context, lh_node *node, int i, lh_tensor *gradient);

#endif
