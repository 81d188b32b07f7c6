/* Which token ends a document, starts one, fills a batch, stands for the unknown. */
#include "text/tokenizer_impl.h"

#include <string.h>

static const char *const known_names[LH_TOKEN_ROLES][8] = {
    [LH_TOKEN_EOS] = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "<|eot_id|>", NULL},
    [LH_TOKEN_BOS] = {"<|begin_of_text|>", "<s>", "<bos>", "<|startoftext|>", NULL},
    [LH_TOKEN_PAD] = {"<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>", NULL},
    [LH_TOKEN_UNKNOWN] = {"<unk>", "[UNK]", NULL},
};

void lh_tokenizer_guess_roles(lh_tokenizer *tokenizer)
{
    if (tokenizer->roles[LH_TOKEN_UNKNOWN] == LH_NO_TOKEN) {
        tokenizer->roles[LH_TOKEN_UNKNOWN] = tokenizer->unknown;
    }
    for (int role = 0; role < LH_TOKEN_ROLES; role++) {
        for (int i = 0; tokenizer->roles[role] == LH_NO_TOKEN && known_names[role][i]; i++) {
            int32_t id = lh_tokenizer_find(tokenizer, known_names[role][i], strlen(known_names[role][i]));
            if (lh_tokenizer_is_special(tokenizer, id)) {
                tokenizer->roles[role] = id;
            }
        }
    }
}

/* Is the token ever made of text? */
static bool is_merged(const lh_tokenizer *tokenizer, int32_t id)
{
    for (size_t i = 0; i < tokenizer->merges.table_size; i++) {
        if (tokenizer->merges.table[i].result == id) {
            return true;
        }
    }
    return false;
}

lh_status lh_tokenizer_mark_known(lh_tokenizer *tokenizer, lh_error *error)
{
    for (int role = 0; role < LH_TOKEN_ROLES; role++) {
        for (int i = 0; known_names[role][i]; i++) {
            int32_t id = lh_tokenizer_find(tokenizer, known_names[role][i], strlen(known_names[role][i]));
            if (id != LH_NO_TOKEN && !is_merged(tokenizer, id)) {
                LH_TRY(lh_tokenizer_mark_added(tokenizer, id, true, error));
            }
        }
    }
    return LH_OK;
}
