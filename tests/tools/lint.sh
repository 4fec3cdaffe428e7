#!/bin/sh
# Include directions, headers that compile alone and say what for, unique file names, long files and functions.
set -u
bad=0
complain() { echo "lint: $*"; bad=1; }

# may MODULE "ALLOWED...": project headers that MODULE's files include must live in one of ALLOWED.
may() {
    for f in "$1"/*.[ch]; do
        [ -e "$f" ] || continue
        grep -Ho '^#include "[a-z_]*/' "$f" | sed 's/.*"//; s,/,,' | while read -r dir; do
            case " $2 " in *" $dir "*) ;; *) echo "lint: $f includes from $dir/" ;; esac
        done
    done
}
out=$(may common "common"; may text_transformer "common text_transformer"
      may base_model "common text_transformer base_model"; may upsampler "common text_transformer upsampler"
      may guidance "common text_transformer guidance"; may data "common text_transformer data")
[ -z "$out" ] || { echo "$out"; bad=1; }

dup=$(git ls-files '*.c' '*.h' | sed 's,.*/,,' | sort | uniq -d)
[ -z "$dup" ] || complain "file names not unique: $dup"

for h in $(git ls-files '*.h'); do
    echo "#include \"$h\"" | ${CC:-gcc} $FLAGS -fsyntax-only -x c - || complain "$h does not compile alone"
done

for f in $(git ls-files '*.c' '*.h'); do
    n=$(wc -l < "$f"); [ "$n" -le 600 ] || complain "$f has $n lines (600 at most)"
done
for h in $(git ls-files '*.h'); do
    head -c 2 "$h" | grep -q '^/\*' || complain "$h does not begin with what it is for"
done
long=$(git ls-files '*.c' '*.h' | xargs awk 'FNR == 1 { from = 0 } /^\{/ { from = FNR }
    /^\}/ { if (from && FNR - from > 75) print FILENAME ":" from ": a function of " FNR - from " lines (75 at most)"; from = 0 }')
[ -z "$long" ] || complain "$long"
git grep -nE '^[[:space:]]*extern ' -- '*.c' && complain "extern in a .c file"
[ $bad = 0 ] && echo "lint: clean"
exit $bad
