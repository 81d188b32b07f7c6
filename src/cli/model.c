#include "cli/model.h"

#include "base/memory.h"

#include <unistd.h>

lh_status lh_cli_overrides(const lh_command *command, const char *const *extra, const char ***overrides,
                           size_t *count, lh_error *error)
{
    size_t extras = 0;
    int operands = lh_command_operand_count(command);
    while (extra && extra[extras]) {
        extras++;
    }
    const char **list = lh_heap_alloc(sizeof *list * ((size_t)operands + extras));
    if (!list) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the command line");
    }
    *count = 0;
    for (size_t i = 0; i < extras; i++) {
        list[(*count)++] = extra[i];
    }
    for (int i = 1; i < operands; i++) {
        list[(*count)++] = lh_command_operand(command, i);
    }
    *overrides = list;
    return LH_OK;
}

lh_status lh_cli_open_model(const lh_command *command, lh_model **model, lh_tokenizer **tokenizer, int64_t *step,
                            lh_error *error)
{
    lh_load_options options = {.which = lh_command_string(command, "checkpoint"), .dtype = LH_F32};
    const char **overrides;
    LH_TRY(lh_cli_overrides(command, NULL, &overrides, &options.override_count, error));
    options.overrides = overrides;
    lh_status status = lh_load_model(model, tokenizer, step, lh_command_operand(command, 0), &options, error);
    lh_heap_free(overrides);
    return status;
}

bool lh_cli_terminal(void)
{
    return isatty(STDOUT_FILENO) != 0;
}
