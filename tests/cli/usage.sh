#!/bin/bash
# The command as a person meets it first: every verb explains itself, and mistakes get one sentence and exit code 2.
. "$(dirname "$0")/_lib.sh"

check "--version" "$longhand" --version
equal "no libraries talk at start-up" "$("$longhand" --version 2>&1 | wc -l)" 1

# The list of verbs is two blanks, one or two words, at least two blanks, a summary.
verbs=$("$longhand" --help | sed -n '/^Verbs:/,/^$/s/^  \([a-z-]*\( [a-z-]*\)\?\)  .*/\1/p')
check "--help lists verbs" test -n "$verbs"
while read -r verb; do
    page=$("$longhand" $verb --help)
    check "$verb --help begins with its usage" grep -q "^Usage: longhand $verb " <<<"$page"
    check "$verb --help has an example" grep -q "^  longhand \| longhand " <<<"$page"
    equal "help $verb and $verb --help are the same" "$("$longhand" help $verb)" "$page"
    refuses "$verb refuses an unknown option" 2 "unknown option --no-such-option" "$longhand" $verb --no-such-option
    manual=$LH_BUILD/pages/man/longhand-${verb// /-}.1
    if command -v man >/dev/null; then
        equal "the manual page of $verb has no roff warnings" "$(MANWIDTH=160 man --warnings -l "$manual" 2>&1 >/dev/null)" ""
    else
        check "the manual page of $verb is there" test -s "$manual"
    fi
done <<<"$verbs"
refuses "an unknown verb" 2 'did you mean "completion"?' "$longhand" completoin
refuses "no verb" 2 "a verb is needed" "$longhand"
if [ -c /dev/full ]; then
    refuses "a full disk under standard output" 5 "No space left" bash -c "$longhand --help >/dev/full"
fi
finish
