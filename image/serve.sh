#!/bin/sh
# serve.sh [show]: starts the reference host agent (tests/hostagent), which serves the API of capsules, and prints a curl to
# try; ends, with every capsule, at ^C. With `show` it runs the API's curl commands itself, each answer checked, and ends.
# Capsules are microVMs, or containers where there can be none (GUESTD_CONTAINER=1: in any case). Run as root.
set -u
cd "$(dirname "$0")/.." || exit 1

work=$(mktemp -d) || exit 1
agent=
key=wrn_$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')

finish() {
    status=$?
    # INT destroys the capsules first.
    [ -z "$agent" ] || kill -INT "$agent" 2>/dev/null && wait "$agent" 2>/dev/null
    rm -rf --one-file-system "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

die() {
    printf '  ✗ %s\n' "$*"
    [ ! -s "$work/log" ] || { echo "the host agent's end:" && tail -n 20 "$work/log"; }
    exit 1
}

# ── the host agent ──

start() {
    sh image/needs.sh hostagent || die 'what the host agent is made of cannot be had'
    kind=container
    if [ -z "${GUESTD_CONTAINER:-}" ] && sh image/needs.sh vm && sh image/backend.sh >/dev/null; then
        kind=vm
    fi
    echo "  starting the host agent; the first time it makes its templates, in a minute or two"
    # In a process group of its own: a terminal's ^C is for this script, which passes it on.
    setsid tests/hostagent/serve --port "${PORT:-0}" --key "$key" --capsules "$kind" --state "$work/state" \
        >"$work/log" 2>&1 &
    agent=$!
    tries=6000
    until url=$(sed -n 's/^listening on //p' "$work/log") && [ -n "$url" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] && kill -0 "$agent" 2>/dev/null || die 'it does not serve'
        sleep 0.1
    done
    case $kind in
    vm) what=microVMs ;;
    container) what='containers: NOT microVMs' ;;
    esac
    echo "  it serves $url, its capsules are $what"
}

# ── asking it ──

asked=0

# ask STATUS METHOD PATH [CURL'S OPTIONS…]: shows the command and what came back, and holds the status against STATUS. The body
# stays in $work/body.
ask() {
    want=$1 method=$2 path=$3
    shift 3
    printf '\n$ curl -X %s %s%s -H "X-API-Key: $KEY"' "$method" "$url" "$path"
    for word in "$@"; do
        case $word in
        -*) printf ' %s' "$word" ;;
        *) printf " '%s'" "$word" ;;
        esac
    done
    echo
    : >"$work/body"
    got=$(cd "$work" && curl -sS -X "$method" "$url$path" -H "X-API-Key: $key" -o body -w '%{http_code}' "$@") || die curl
    [ ! -s "$work/body" ] || { head -c 2000 "$work/body" && echo; } | sed 's/^/  │ /'
    [ "$got" = "$want" ] || die "status $got, not $want"
    asked=$((asked + 1))
    printf '  ✓ %s\n' "$got"
}

json() { set -- "$@" -H 'Content-Type: application/json'; ask "$@"; }

body_has() { grep -q -- "$1" "$work/body" || die "the answer lacks $1"; }

field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/body" "$1"; }

show() {
    json 201 POST /v1/capsules -d '{"template": "base-python", "memory_mb": 512}'
    id=$(field id)
    begin=$(date +%s%N)
    tries=600
    until curl -sS -o "$work/body" -H "X-API-Key: $key" "$url/v1/capsules/$id" && [ "$(field status)" = running ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || die 'the capsule never ran'
        sleep 0.05
    done
    printf '  ✓ running %d ms later\n' "$((($(date +%s%N) - begin) / 1000000))"

    capsule=/v1/capsules/$id
    json 200 POST "$capsule/exec" -d '{"cmd": "python", "args": ["-c", "print(\"hello\")"]}'
    body_has '"stdout": *"hello\\n"'
    echo 'import http.server; http.server.test(port=8080)' >"$work/server.py"
    ask 204 POST "$capsule/files/write" -F path=/workspace/server.py -F file=@./server.py
    json 202 POST "$capsule/exec" -d '{"cmd": "python", "args": ["-u", "server.py"], "background": true,
        "envs": {"PORT": "8080"}, "cwd": "/workspace"}'
    tag=$(field tag)
    ask 200 GET "$capsule/processes"
    body_has "$tag"
    ask 204 DELETE "$capsule/processes/$tag"
    head -c 33554432 /dev/urandom >"$work/large-dataset.csv"
    ask 204 POST "$capsule/files/stream/write" -F path=/data/large-dataset.csv -F file=@./large-dataset.csv
    json 200 POST "$capsule/exec" -d '{"cmd": "sha256sum", "args": ["/data/large-dataset.csv"]}'
    body_has "$(sha256sum <"$work/large-dataset.csv" | cut -d' ' -f1)"
    json 200 POST "$capsule/files/mkdir" -d '{"path": "/app/data"}'
    json 200 POST "$capsule/files/list" -d '{"path": "/app", "depth": 1}'
    body_has '"name": *"data"'
    json 204 POST "$capsule/files/remove" -d '{"path": "/app/data"}'
    json 404 POST "$capsule/files/list" -d '{"path": "/app/data", "depth": 1}'
    ask 200 POST "$capsule/pause"
    body_has '"status": *"paused"'
    ask 200 POST "$capsule/resume"
    json 200 POST "$capsule/exec" -d '{"cmd": "sha256sum", "args": ["/data/large-dataset.csv"]}'
    body_has "$(sha256sum <"$work/large-dataset.csv" | cut -d' ' -f1)"
    ask 204 DELETE "$capsule"
    printf '\n%d curl commands answered, by a capsule of its host agent: %s.\n' "$asked" "$what"
}

start
case ${1:-} in
show) show ;;
*)
    cat <<END

Try:
  KEY=$key
  curl -X POST $url/v1/capsules -H "X-API-Key: \$KEY" -H 'Content-Type: application/json' -d '{"template": "base-python"}'
  curl -X POST $url/v1/capsules/ID/exec -H "X-API-Key: \$KEY" -H 'Content-Type: application/json' \\
      -d '{"cmd": "python", "args": ["-c", "print(6 * 7)"]}'

^C ends it, and every capsule with it.
END
    wait "$agent"
    ;;
esac
