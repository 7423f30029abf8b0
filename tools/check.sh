#!/usr/bin/env bash
# Every static gate, each with its time; goes on after a failure so that one run shows them all.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
readonly BIN=.venv/bin
failed=()

gate() { # gate NAME COMMAND...: quiet when it passes, its own words when it fails
  local name="$1" output start="${EPOCHREALTIME/./}"
  shift
  if output="$("$@" 2>&1)"; then
    printf 'check: %-22s ok     %5d ms\n' "$name" "$(((${EPOCHREALTIME/./} - start) / 1000))"
  else
    printf 'check: %-22s FAILED\n%s\n' "$name" "$output"
    failed+=("$name")
  fi
}

gate format "$BIN/ruff" format --check .
gate lint "$BIN/ruff" check .
gate "types (Linux)" "$BIN/pyright"
gate "types (macOS)" "$BIN/pyright" --pythonplatform Darwin src
gate "types (Windows)" "$BIN/pyright" --pythonplatform Windows src
gate layers "$BIN/lint-imports"
gate layout "$BIN/python" tools/check_layout.py
gate docstrings "$BIN/interrogate" --quiet src
gate guarantees "$BIN/python" tools/check_guarantees.py
gate "coverage ratchet" "$BIN/python" tools/ratchet.py --only-raised
gate shell "$BIN/shellcheck" tools/*.sh .ci/run

if [ "${#failed[@]}" -gt 0 ]; then
  printf 'check: failed: %s\n' "$(IFS=,; echo "${failed[*]}")"
  exit 1
fi
printf 'check: all gates passed in %d s\n' "$SECONDS"
