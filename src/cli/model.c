#include "cli/model.h"

#include "base/memory.h"

#include <unistd.h>

lh_status lh_cli_open_model(const lh_command *command, const char *const *extra, lh_model **model,
                            lh_tokenizer **tokenizer, int64_t *step, lh_error *error)
{
    size_t count = 0, extras = 0;
    int operands = lh_command_operand_count(command);
    while (extra && extra[extras]) {
        extras++;
    }
    const char **overrides = lh_heap_alloc(sizeof *overrides * ((size_t)operands + extras));
    if (!overrides) {
        return lh_fail(error, LH_E_MEMORY, "no memory for the command line");
    }
    for (size_t i = 0; i < extras; i++) {
        overrides[count++] = extra[i];
    }
    for (int i = 1; i < operands; i++) {
        overrides[count++] = lh_command_operand(command, i);
    }
    lh_load_options options = {.which = lh_command_string(command, "checkpoint"),
                               .overrides = overrides,
                               .override_count = count,
                               .dtype = LH_F32};
    lh_status status = lh_load_model(model, tokenizer, step, lh_command_operand(command, 0), &options, error);
    lh_heap_free(overrides);
    return status;
}

bool lh_cli_terminal(void)
{
    return isatty(STDOUT_FILENO) != 0;
}
