#!/bin/bash
# The library from outside: installs it into an empty tree, builds the examples against it as their first lines say,
# trains a model in seconds with one of them and reads and writes with the others, which must agree with the command.
# Then the same from Python.
. "$(dirname "$0")/_lib.sh"
export OMP_WAIT_POLICY=passive

tree=$scratch/tree
cmake --install "$LH_BUILD" --prefix "$tree" >"$scratch/log" 2>&1 || {
    cat "$scratch/log"
    fail "cmake --install"
    finish
}
pc=$(find "$tree" -name longhand.pc)
export PKG_CONFIG_PATH=${pc%/*} LD_LIBRARY_PATH=${pc%/pkgconfig/*}
read -ra cflags < <(pkg-config --cflags longhand)
read -ra flags < <(pkg-config --cflags --libs longhand)

# ---- the header ----

echo '#include <longhand.h>' >"$scratch/header.c"
for standard in c99 c11 c17; do
    check "the header is $standard" gcc -std=$standard -Wall -Wextra -pedantic -Werror -fsyntax-only "${cflags[@]}" \
        "$scratch/header.c"
done
for standard in c++11 c++17 c++20; do
    command -v g++ >/dev/null || { skip "g++ is not installed"; break; }
    check "the header is $standard" g++ -x c++ -std=$standard -Wall -Wextra -pedantic -Werror -fsyntax-only \
        "${cflags[@]}" "$scratch/header.c"
done

# ---- the examples ----

for example in read_book write_on train_model; do
    source=$(find "$tree" -name $example.c)
    check "$example is installed" test -s "$source"
    check "$example builds as C99" gcc -std=c99 -Wall -Wextra -pedantic -Werror -fsyntax-only "${cflags[@]}" "$source"
    check "$example builds" cc -Wall -Wextra -Werror "$source" "${flags[@]}" -o "$scratch/$example"
    refuses "$example says how it is called" 2 "usage: $example" "$scratch/$example"
done

cd "$scratch" || exit 1
for i in $(seq 400); do
    echo "Line $i of a book: the quick brown fox jumps over $((i * 7919 % 1000)) lazy dogs, and a dog jumps over the fox."
done >book.txt
settings=(data.path=book.txt data.batch=4 model.layers=2 model.width=32 model.heads=2 model.hidden=64 model.segment=32
    memory.length=32 memory.compressed=16 train.steps=40 train.log_every=5 train.learning_rate=3e-3 train.warmup=5
    train.threads=1 train.eval_every=20 train.eval_tokens=2000)
check "train_model trains" bash -c '"$@" >train.log 2>train.err' - ./train_model compressive-tiny run "${settings[@]}"
equal "the library itself prints nothing" "$(cat train.err)" ""
check "it shows its progress" grep -qE '^train: step 40, 5120 tokens, [0-9.]+ bits_per_byte, rate' train.log
check "it says how large the model is" grep -qE '^about [0-9]+ parameters, memory compressive$' train.log
check "it ends with a summary" grep -qE '^step 40: [0-9.]+ bits_per_byte in training, [0-9.]+ in validation' train.log
check "the run is there" test -s run/checkpoint-40.safetensors
equal "it goes on from where it was" "$(./train_model compressive-tiny run "${settings[@]}" train.steps=44 |
    sed -n 's/^\(train: step [0-9]*\|step [0-9]*\).*/\1/p' | tr '\n' ';')" "train: step 40;step 44;"
refuses "another model is refused" 7 "model.width" ./train_model compressive-tiny run "${settings[@]}" model.width=64
refuses "an unknown recipe is refused" 2 "compressive-tiny" ./train_model compressive-tine run
refuses "a book that is not there" 5 "nowhere.txt" ./read_book run nowhere.txt
refuses "a run that is not there" 5 "nowhere" ./read_book nowhere book.txt

# Interrupted, it saves and says so.
./train_model compressive-tiny long "${settings[@]}" train.steps=100000000 >long.log 2>long.err &
process=$!
for _ in $(seq 200); do
    grep -qs '^train: step' long.log && break
    sleep 0.1
done
kill -INT $process
wait $process
equal "an interrupted training ends with 9" $? 9
check "and is saved" bash -c 'ls long/checkpoint-*.safetensors'
check "which it says" grep -q 'everything is saved' long.err

figure() { sed -n "s/^ *\"$1\": *\\([-0-9.e]*\\),*$/\\1/p" | head -n 1; }
expected=$("$longhand" eval --quiet run --data book.txt --first skip --json | figure bits_per_byte)
./read_book run book.txt >read.log
equal "read_book ends well" $? 0
equal "what it reads costs what eval says" "$(tail -n 1 read.log | awk '{print $3}')" \
    "$(LC_ALL=C printf '%.4f' "$expected")"

check "write_on writes" bash -c './write_on run place "Line 7 of" >one'
check "write_on goes on" bash -c './write_on run place >two'
"$longhand" generate --quiet run --prompt "Line 7 of" --echo --tokens 400 --temperature 0.8 --top-p 0.98 --seed 1 >whole
check "two calls write what the command writes in one" cmp <(cat one two) whole
check "a place that was damaged is refused" bash -c 'printf x >>place; ! ./write_on run place 2>err && grep -q place err'

# ---- Python ----

# The system's own has the packages that were installed with the system.
python=$(PATH=/usr/bin:$PATH command -v python3) || {
    skip "python3 is not installed"
    finish
}
structs=$(grep -oE '^\} longhand_[a-z_]+;' "$root/include/longhand.h" | tr -d '};')
{
    echo '#include <longhand.h>'
    echo '#include <stdio.h>'
    echo 'int main(void) {'
    for name in $structs; do printf 'printf("%s %%zu\\n", sizeof(%s));\n' "$name" "$name"; done
    echo 'return 0; }'
} >sizes.c
check "sizes.c builds" cc sizes.c "${cflags[@]}" -o sizes
./sizes | sort >sizes.c.txt
export PYTHONPATH=$tree/share/longhand/python PYTHONDONTWRITEBYTECODE=1
LONGHAND_LIBRARY=$(find "$tree" -name liblonghand.so)
export LONGHAND_LIBRARY
$python - >sizes.py.txt <<'PY'
import ctypes, re
from longhand import _library
for name, kind in sorted(vars(_library).items()):
    if isinstance(kind, type) and issubclass(kind, _library.Struct) and kind is not _library.Struct:
        print("longhand" + re.sub("([A-Z])", lambda m: "_" + m[1].lower(), name), ctypes.sizeof(kind))
PY
check "Python knows every struct of the header and its size" diff <(sort sizes.py.txt) sizes.c.txt
for numpy in with without; do
    if [ $numpy = with ] && ! $python -c 'import numpy' 2>/dev/null; then
        skip "numpy is not installed"
        continue
    fi
    output=$($python "$root/tests/cli/_api.py" $numpy run book.txt python-$numpy 2>&1)
    totals=$(tail -n 1 <<<"$output")
    if [[ $totals =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
        [ "${BASH_REMATCH[2]}" = 0 ] || echo "$output"
    else
        fail "Python $numpy numpy ended without totals"
        echo "$output"
    fi
done
reason=$(LONGHAND_LIBRARY=/nowhere.so $python -c 'import longhand' 2>&1 | tail -n 1)
equal "a library that is not there is an ImportError" "${reason%%:*}" "ImportError"
finish
