#!/bin/sh
# Bring the data volume up to date, then become the daemon, so that signals reach it.
set -eu
umask 077
if [ "$#" -gt 0 ]; then
    exec sage-sleep "$@"
fi
sage-sleep migrate
# The embedded model, or what SAGE_BASE_MODEL names, into the volume: here and nowhere else. Without
# it the daemon takes exchanges all the same, and says what is missing.
sage-sleep model fetch || echo "No base model: exchanges are taken, and nothing sleeps." >&2
export HF_HUB_OFFLINE=1
exec sage-sleep serve
