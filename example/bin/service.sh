#!/bin/sh
# Stands for a service: says how it was started, then works on.
echo "service on $(hostname) in $PWD with $# arguments:"
for argument; do
    printf '  [%s]\n' "$argument"
done
trap 'echo stopping; exit 0' TERM HUP
while :; do
    sleep 1
done
