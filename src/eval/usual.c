/* What an evaluation does where nothing was said. */
#include "eval/evaluate.h"
#include "infer/describe.h"

#include <string.h>

lh_protocol_kind lh_eval_usual_protocol(const lh_eval_corpus *corpus)
{
    const lh_dataset *data = corpus->dataset;
    bool rows = data && (*data->facts.task || strcmp(data->facts.layout, LH_PAIRS_LAYOUT) == 0);
    return rows ? LH_PROTOCOL_BOOK : LH_PROTOCOL_STREAM;
}

static lh_status choose_first(lh_eval_options *o, const char *how, const lh_tokenizer *tokenizer, lh_error *error)
{
    static const char *const names[] = {
        [LH_FIRST_CHARGED] = "charge", [LH_FIRST_SKIPPED] = "skip", [LH_FIRST_STARTED] = "start"};
    int32_t end = lh_tokenizer_role(tokenizer, LH_TOKEN_EOS);
    if (!how) {
        how = o->protocol.kind == LH_PROTOCOL_PACK && end != LH_NO_TOKEN ? "start" : "charge";
    }
    o->start_token = end;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], how) == 0) {
            o->first = (lh_first_token)i;
            return o->first == LH_FIRST_STARTED && end == LH_NO_TOKEN
                       ? lh_fail(error, LH_E_ARGUMENT,
                                 "first tokens cannot be predicted (start): the tokenizer has no end-of-text token")
                       : LH_OK;
        }
    }
    return lh_fail(error, LH_E_ARGUMENT, "'%s' is nothing to do with first tokens: charge, skip or start", how);
}

/* About so many tokens side by side fill the machine. */
#define TOKENS_AT_ONCE 8192

static int64_t usual_lanes(const lh_eval_options *o, const lh_model *model, const lh_eval_corpus *corpus)
{
    const lh_protocol *p = &o->protocol;
    int64_t length = lh_protocol_has_windows(p->kind) ? p->window : model->config.segment;
    int64_t lanes = TOKENS_AT_ONCE / (length > 0 ? length : 1);
    int64_t most =
        p->kind == LH_PROTOCOL_BOOK || p->kind == LH_PROTOCOL_TRUNC ? (int64_t)corpus->document_count : 16;
    lanes = lanes > 16 ? 16 : lanes;
    lanes = lanes > most ? most : lanes;
    return p->kind == LH_PROTOCOL_STREAM || lanes < 1 ? 1 : lanes;
}

lh_status lh_eval_options_complete(lh_eval_options *options, const char *first, const lh_model *model,
                                   const lh_tokenizer *tokenizer, const lh_eval_corpus *corpus, lh_error *error)
{
    options->lanes = options->lanes > 0 ? options->lanes : usual_lanes(options, model, corpus);
    options->tally.warm = (uint64_t)lh_model_fill(model);
    return choose_first(options, first, tokenizer, error);
}
