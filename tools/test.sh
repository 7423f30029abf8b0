#!/usr/bin/env bash
# Run the tests: `fast` (no VMs), `all` (real VMs and the coverage ratchet), `long` (soaks as well).
# Prints what each stage took, and pytest's own closing line last.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
readonly PYTHON=.venv/bin/python LOG=build/pytest.log
mkdir -p build

closing_line() { grep -E '^[0-9]+ [a-z]+.* in [0-9.]+s' "$LOG" | tail -n 1; }

finish() { # finish CODE: say how long it took, then how it ended
  printf 'test: %d s in all\n' "$SECONDS"
  closing_line
  exit "$1"
}

case "${1:-all}" in
  fast)
    "$PYTHON" -m pytest -m 'not vm' 2>&1 | tee "$LOG"
    finish "${PIPESTATUS[0]}"
    ;;
  long)
    "$PYTHON" -m pytest --long --durations=15 2>&1 | tee "$LOG"
    finish "${PIPESTATUS[0]}"
    ;;
  all)
    .venv/bin/luminaguard image verify >/dev/null 2>&1 || .venv/bin/luminaguard image build || finish 1
    "$PYTHON" -m coverage erase
    "$PYTHON" -m coverage run -m pytest --durations=10 2>&1 | tee "$LOG"
    code="${PIPESTATUS[0]}"
    [ "$code" = 0 ] || finish "$code"
    printf 'test: pytest took %d s\n' "$SECONDS"
    "$PYTHON" -m coverage combine --quiet && "$PYTHON" -m coverage json --quiet -o build/coverage.json &&
      "$PYTHON" tools/ratchet.py build/coverage.json
    finish "$?"
    ;;
  *)
    echo "usage: tools/test.sh fast|all|long" >&2
    exit 2
    ;;
esac
