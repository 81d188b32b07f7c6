# Shared by the fault tests of training: `. tests/fault/_training.sh`, then checks, then `finish`.
. "$(dirname "${BASH_SOURCE[0]}")/../cli/_lib.sh"
export OMP_WAIT_POLICY=passive LH_QUIET=1
here=$root/tests/fault

# A text of 40 kB that is the same everywhere.
python3 - "$scratch/book.txt" <<'PY'
import sys
words = "the a of to and in that it was his her sea ship wind night old man said went over under".split()
state, out = 7, []
while sum(map(len, out)) < 40000:
    state = (state * 1103515245 + 12345) % 2**31
    out.append(words[(state >> 16) % len(words)] + (".\n" if state % 11 == 0 else " "))
open(sys.argv[1], "w").write("".join(out))
PY

# A Compressive Transformer that is small enough for hundreds of steps a second, with everything that a checkpoint has
# to carry: dropout, two memories, gradients that wait for their update, lanes computed in two parts.
cat >"$scratch/small.ini" <<INI
[data]
path = $scratch/book.txt
batch = 4
[model]
layers = 2
width = 32
heads = 2
hidden = 64
segment = 16
positions = relative
init = sonnet
dropout = 0.1
attention_dropout = 0.1
[memory]
kind = compressive
length = 16
compressed = 8
rate = 4
[train]
steps = 120
threads = 1
warmup = 20
learning_rate = 3e-3
accumulate = 2
update_period = 3
update_period_after = 10
log_every = 4
checkpoint_every = 5
eval_every = 20
eval_tokens = 1000
INI

# train RUN [section.key=value...]: begins or goes on.
train() {
    local run=$1
    shift
    "$longhand" train "$scratch/small.ini" "$@" --out "$run"
}

# same RUN RUN: final parameters, memories, place in the text, and metrics.
same() {
    python3 "$here/_compare.py" "$1" "$2"
}
