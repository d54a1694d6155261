#!/bin/sh
# Bring the data volume up to date, then become the daemon, so that signals reach it.
set -eu
if [ "$#" -gt 0 ]; then
    exec sage-sleep "$@"
fi
if [ -z "${SAGE_BASE_MODEL:-}" ]; then
    sage-sleep model fetch
fi
sage-sleep migrate
exec sage-sleep serve
