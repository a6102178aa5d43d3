#!/bin/sh
# Stands for a client: a little work, and a result.
set -eu
echo "client with $1 load on $(hostname)"
cat data/words.txt data/models/*.txt | wc -w >"$RESULTS/$1"
echo "counted $(cat "$RESULTS/$1") words"
