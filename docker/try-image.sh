#!/bin/sh
# Build the CPU image and run it as an operator would: what it holds, who it is, what it keeps.
# The one argument is the engine, docker or podman. What it made is removed; the image stays.
set -eu
engine=${1:-docker}
image=sage-sleep:cpu
name=sage-sleep-try-$$
cd "$(dirname "$0")/.."

fail() {
    echo "FAILED: $*" >&2
    "$engine" logs "$name" >&2 || true
    exit 1
}
clean() {
    "$engine" rm --force "$name" >/dev/null 2>&1 || true
    "$engine" volume rm "$name" >/dev/null 2>&1 || true
}
trap clean EXIT

in_image() {
    "$engine" run --rm --entrypoint "$1" "$image" -c "$2"
}
wait_until_healthy() {
    for _ in $(seq 120); do
        if "$engine" exec "$name" sage-sleep healthcheck >/dev/null 2>&1; then return; fi
        sleep 2
    done
    fail "the daemon does not answer"
}
ask() {
    "$engine" exec "$name" python -c "
import sys, urllib.request
body = sys.argv[2].encode() if len(sys.argv) > 2 else None
request = urllib.request.Request('http://127.0.0.1:8760' + sys.argv[1], body)
request.add_header('Content-Type', 'application/json')
print(urllib.request.urlopen(request).read().decode())" "$@"
}

"$engine" build -f docker/Dockerfile --target cpu -t "$image" .

in_image sh '[ "$(id -u)" = 10001 ]' || fail "it does not run as its own user"
in_image python 'import torch; assert torch.version.cuda is None, torch.version.cuda' \
    || fail "torch is not the CPU build"
for tool in pytest hypothesis mypy ruff playwright; do
    if in_image python "import $tool" 2>/dev/null; then fail "the image holds $tool"; fi
done

# Settings by a file; a model that is nowhere: it serves, says so, and keeps what is posted.
settings=$(mktemp)
echo "SAGE_BASE_MODEL=/data/no-model" >"$settings"
"$engine" run --detach --name "$name" --env-file "$settings" --volume "$name:/data" "$image"
rm -f "$settings"
wait_until_healthy
ask /readyz | grep -q 'sage-sleep model fetch' || fail "it does not say that its model is missing"
ask /v1/experiences '{"prompt": "Who are you?", "response": "I am SAGE."}' >/dev/null
in_volume=$("$engine" exec "$name" find /data -perm /077)
[ -z "$in_volume" ] || fail "others may look into $in_volume"
"$engine" stop --time 30 "$name" >/dev/null
"$engine" start "$name" >/dev/null
wait_until_healthy
ask /v1/experiences | grep -q 'I am SAGE.' || fail "what was posted is gone after a restart"
echo "The image was built and run: user, CPU build, no test tools, settings, volume, restart."
