#!/bin/bash
# The completion scripts, in the shells they are for.
. "$(dirname "$0")/_lib.sh"

"$longhand" completion bash >"$scratch/bash"
"$longhand" completion zsh >"$scratch/_longhand"
"$longhand" completion fish >"$scratch/fish"

check "bash accepts its script" bash -n "$scratch/bash"

# What bash offers for a line of words, the last of which is being typed.
offers() {
    (
        . "$scratch/bash"
        COMP_WORDS=("$@")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _longhand
        echo "${COMPREPLY[*]}"
    )
}
equal "verbs" "$(offers longhand compl)" "completion"
equal "options before a verb" "$(offers longhand --v)" "--version"
equal "operands with fixed values" "$(offers longhand completion z)" "zsh"
equal "options of a verb" "$(offers longhand completion --qu)" "--quiet"
equal "verbs after help" "$(offers longhand help compl)" "completion"
equal "hidden verbs are not offered" "$(offers longhand ma)" ""

if command -v zsh >/dev/null; then
    check "zsh accepts its script" zsh -n "$scratch/_longhand"
    check "zsh loads its script" zsh -f -c "
        autoload -Uz compinit && compinit -u -D && source $scratch/_longhand && [[ \${_comps[longhand]} = _longhand ]]"
else
    skip "zsh is not installed"
fi
if command -v fish >/dev/null; then
    export HOME=$scratch
    check "fish accepts its script" fish -n "$scratch/fish"
    equal "fish offers verbs" \
        "$(fish -c "source $scratch/fish; complete -C 'longhand compl'" | cut -f1)" "completion"
    equal "fish offers operands" \
        "$(fish -c "source $scratch/fish; complete -C 'longhand completion z'" | cut -f1)" "zsh"
    equal "fish offers options" \
        "$(fish -c "source $scratch/fish; complete -C 'longhand completion --qu'" | cut -f1)" "--quiet"
else
    skip "fish is not installed"
fi
finish
