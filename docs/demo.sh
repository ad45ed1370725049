#!/bin/sh
# `make demo`: this repository in, a published index out, and questions to it. $1 is the environment's bin folder.
set -eu
BIN=$1
say() { printf '\n$ indexctl %s\n' "$*"; }
run() { say "$@"; "$BIN/indexctl" "$@"; }

run build .
run search "how is a version verified before it is published" -k 3
run search builder_lock -k 3
run search "cut a syntax tree into chunks" -k 3 --lang python
run symbols plan_version
run sql "SELECT lang, count(*) AS chunks, sum(end_byte - start_byte) AS bytes FROM chunks GROUP BY lang ORDER BY bytes DESC LIMIT 5"
run eval
run verify
run status
printf '\nNext: `%s/indexctl build /path/to/your/repository`, `make ui` for the graph.\n' "$BIN"
