#!/usr/bin/env bash
# Copy a folder to the backup host.

set -euo pipefail

readonly MAX_RETRIES=5
export BACKUP_HOST="backup.example.org"
target=/srv/backup
declare -a queue=()

# Write a line to stderr.
# Arguments: the message.
log() {
    local level=$1
    printf '%s %s\n' "$level" "$2" >&2
}

function retry {
    local attempt=0
    until "$@"; do
        attempt=$((attempt + 1))
        if (( attempt >= MAX_RETRIES )); then
            log error "giving up"
            return 1
        fi
        sleep "$attempt"
    done
}

function upload() (
    cd "$1"
    inner() { echo "inner"; }
    retry rsync -a . "$BACKUP_HOST:$target"
)

if [[ -n "${DEBUG:-}" ]]; then
    debug_level=2
fi

upload "$@"
