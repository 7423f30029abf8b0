#!/usr/bin/env bash
# Run the tests: `fast` (no VMs), `all` (real VMs and the coverage ratchet), `long` (soaks as well).
# Prints what each stage took, and a closing line like pytest's own last.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
readonly PYTHON=.venv/bin/python LOG=build/pytest.log
mkdir -p build
rm -f "$LOG" build/part-*.log

closing_line() { # the closing lines of every part, added up
  grep -hE '^[0-9]+ [a-z]+.* in [0-9.]+s' build/part-*.log "$LOG" 2>/dev/null | awk -v seconds="$SECONDS" '
    { for (i = 1; $i ~ /^[0-9]+$/; i += 2) { word = $(i + 1); sub(",", "", word); count[word] += $i } }
    END {
      split("failed passed skipped error errors warnings", words)
      for (i = 1; i in words; i++)
        if (words[i] in count) { line = line (line ? ", " : "") count[words[i]] " " words[i] }
      if (line) print line " in " seconds ".0s"
    }'
}

finish() { # finish CODE: say how long it took, then how it ended
  printf 'test: %d s in all\n' "$SECONDS"
  closing_line | tee -a "$LOG"
  exit "$1"
}

part() { # part NAME PYTEST_ARGUMENTS...: one pytest with coverage
  local name="$1"
  shift
  "$PYTHON" -m coverage run -m pytest --durations=10 "$@" 2>&1 | tee "build/part-$name.log"
}

case "${1:-all}" in
  fast)
    "$PYTHON" -m pytest -m 'not vm' 2>&1 | tee "$LOG"
    exit "${PIPESTATUS[0]}"
    ;;
  long)
    "$PYTHON" -m pytest --long --durations=15 2>&1 | tee "$LOG"
    exit "${PIPESTATUS[0]}"
    ;;
  all)
    .venv/bin/luminaguard image verify >/dev/null 2>&1 || .venv/bin/luminaguard image build || exit 1
    "$PYTHON" -m coverage erase
    # Side by side: an emulated machine keeps one processor busy, units another, and tests of whole
    # processes mostly wait.
    part unit -m 'not vm' tests/unit >/dev/null &
    unit_part=$!
    part plain -m 'not vm' --ignore=tests/unit >/dev/null &
    plain_part=$!
    part vm -m vm
    vm=$?
    wait "$unit_part"
    unit=$?
    wait "$plain_part"
    plain=$?
    cat build/part-unit.log build/part-plain.log
    [ "$unit$plain$vm" = 000 ] || finish 1
    "$PYTHON" -m coverage combine --quiet && "$PYTHON" -m coverage json --quiet -o build/coverage.json &&
      "$PYTHON" tools/ratchet.py build/coverage.json
    finish "$?"
    ;;
  *)
    echo "usage: tools/test.sh fast|all|long" >&2
    exit 2
    ;;
esac
