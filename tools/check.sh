#!/usr/bin/env bash
# Every static gate, each with its time; goes on after a failure so that one run shows them all.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
readonly BIN=.venv/bin LOGS=build/check
mkdir -p "$LOGS"
failed=()

timed() { # timed COMMAND...: run it, its words first and its milliseconds as the last line
  local start="${EPOCHREALTIME/./}" code=0
  "$@" 2>&1 || code=$?
  printf '\n%d\n' "$(((${EPOCHREALTIME/./} - start) / 1000))"
  return "$code"
}

report() { # report NAME CODE OUTPUT: quiet when it passed, its own words when it failed
  local milliseconds="${3##*$'\n'}"
  if [ "$2" = 0 ]; then
    printf 'check: %-18s ok     %6d ms\n' "$1" "$milliseconds"
  else
    printf 'check: %-18s FAILED %6d ms\n%s\n' "$1" "$milliseconds" "${3%$'\n'*}"
    failed+=("$1")
  fi
}

gate() { # gate NAME COMMAND...
  local name="$1" output code=0
  shift
  output="$(timed "$@")" || code=$?
  report "$name" "$code" "$output"
}

# The type checker takes longest, so it runs beside the others. The guest is Linux by definition;
# of it, only what the host imports must hold on other platforms.
readonly HOST=(src/luminaguard src/luminaguard_guest/{wire,messages,fields}.py)
declare -A types
start_types() { # start_types PLATFORM FILES...
  local platform="$1"
  shift
  timed "$BIN/pyright" --pythonplatform "$platform" "$@" >"$LOGS/types-$platform" &
  types[$platform]=$!
}
await_types() { # await_types PLATFORM
  local code=0
  wait "${types[$1]}" || code=$?
  report "types ($1)" "$code" "$(<"$LOGS/types-$1")"
}

start_types Linux
start_types Windows "${HOST[@]}"
gate format "$BIN/ruff" format --check .
gate lint "$BIN/ruff" check --output-format concise .
gate layers "$BIN/lint-imports"
gate layout "$BIN/python" tools/check_layout.py
gate docstrings "$BIN/interrogate" --quiet src
gate guarantees "$BIN/python" tools/check_guarantees.py
gate backends "$BIN/python" tools/backend_matrix.py
gate 'coverage ratchet' "$BIN/python" tools/ratchet.py --only-raised
gate shell "$BIN/shellcheck" tools/*.sh .ci/run
await_types Windows
start_types Darwin "${HOST[@]}"
await_types Linux
await_types Darwin

if [ "${#failed[@]}" -gt 0 ]; then
  printf 'check: failed in %d s: %s\n' "$SECONDS" "$(IFS=,; echo "${failed[*]}")"
  exit 1
fi
printf 'check: all gates passed in %d s\n' "$SECONDS"
