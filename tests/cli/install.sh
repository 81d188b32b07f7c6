#!/bin/bash
# Installs into an empty tree and builds a foreign C program against it, as a user of the library would.
. "$(dirname "$0")/_lib.sh"

DESTDIR=$scratch/staged cmake --install "$LH_BUILD" --prefix /opt/longhand >"$scratch/log" 2>&1 || {
    cat "$scratch/log"
    fail "cmake --install"
    finish
}
# The staged tree is moved, since nothing in it may depend on where it was put first.
tree=$scratch/elsewhere
mv "$scratch/staged/opt/longhand" "$tree"
for file in bin/longhand include/longhand.h share/man/man1/longhand.1 share/man/man1/longhand-completion.1 \
    share/bash-completion/completions/longhand share/zsh/site-functions/_longhand \
    share/fish/vendor_completions.d/longhand.fish; do
    check "$file is installed" test -s "$tree/$file"
done
pc=$(find "$tree" -name longhand.pc)
check "one longhand.pc is installed" test -f "$pc"
check "no installed text names the source tree" \
    bash -c "! grep -rIlF '$root' '$tree'"

export PKG_CONFIG_PATH=${pc%/*}
version=$("$tree/bin/longhand" --version)
equal "pkg-config and the command agree on the version" "longhand $(pkg-config --modversion longhand)" "$version"

cat >"$scratch/program.c" <<'C'
#include <longhand.h>
#include <stdio.h>

int main(void)
{
    printf("%s %s\n", lh_version(), lh_status_name(LH_E_FORMAT));
    return 0;
}
C
expected="${version#longhand } format error"
for compiler in gcc clang; do
    if ! command -v "$compiler" >/dev/null; then
        skip "$compiler is not installed"
        continue
    fi
    check "$compiler links the shared library" \
        "$compiler" -std=c17 -Wall -Wextra -Werror -pedantic -o "$scratch/shared" "$scratch/program.c" \
        $(pkg-config --cflags --libs longhand)
    equal "the program runs with the shared library" \
        "$(LD_LIBRARY_PATH=${pc%/pkgconfig/*} "$scratch/shared" 2>&1)" "$expected"
done
check "g++ accepts the header" bash -c "! command -v g++ || echo '#include <longhand.h>' |
    g++ -x c++ -Wall -Wextra -Werror -pedantic -fsyntax-only $(pkg-config --cflags longhand) -"

check "gcc links the static library" \
    gcc -o "$scratch/program" "$scratch/program.c" "${pc%/pkgconfig/*}/liblonghand.a" $(pkg-config --cflags longhand) \
    $(pkg-config --static --libs longhand | sed 's/-llonghand//')
equal "the program runs with the static library" "$("$scratch/program" 2>&1)" "$expected"

# What the header declares must be visible in the shared library, and nothing else may.
library=$(find "$tree" -name 'liblonghand.so')
foreign=$(nm -D --defined-only "$library" | awk '$2 ~ /[TDBR]/ && $3 !~ /^(longhand_|lh_status_name$|lh_version$)/ {print $3}' | head)
equal "the shared library exports the public names only" "$foreign" ""
undeclared=$(nm -D --defined-only "$library" | awk '$2 == "T" {print $3}' | while read -r name; do
    grep -qw "$name" "$root/include/longhand.h" || echo "$name"
done | head)
equal "every exported function is in longhand.h" "$undeclared" ""
missing=$(grep -oE '^LH_API .*' "$root/include/longhand.h" | grep -oE '(longhand|lh)_[a-z_]+\(' | tr -d '(' | while read -r name; do
    nm -D --defined-only "$library" | grep -qw "$name" || echo "$name"
done)
equal "every function of longhand.h is exported" "$missing" ""
finish
