#!/bin/sh
# Prints the table of README.md: registers, shared memory and spills of every kernel, as ptxas reports them.
#   registers.sh [ARCHITECTURE]      default sm_90
here=$(cd "$(dirname "$0")" && pwd)
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
for file in "$here"/*.cu; do
    "$nvcc" -std=c++17 -O3 -fmad=false -I"$here/../include" -arch="${1:-sm_90}" -Xptxas -v -c "$file" -o /dev/null 2>&1 |
        awk -v file="$(basename "$file")" '
            /Compiling entry function/ { name = $0; sub(/.*function ./, "", name); sub(/. for .*/, "", name) }
            /spill stores/ { spill = $5 + $9 }
            /Used [0-9]+ registers/ {
                shared = 0
                if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART, RLENGTH) + 0
                match($0, /Used [0-9]+/)
                print "| `" name "` | " file " | " substr($0, RSTART + 5, RLENGTH - 5) " | " shared " | " spill " |"
            }' | c++filt | sed -E 's/`(void )?([a-z0-9_]+(<[^>]*>)?)\([^`]*`/`\2`/'
done
