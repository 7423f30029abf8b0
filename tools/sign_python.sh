#!/usr/bin/env bash
# Sign a Python on macOS so that it may make virtual machines: tools/sign_python.sh PYTHON
# Ad hoc, for this Mac only. Every program that this Python runs may make machines afterwards.
set -euo pipefail

say() { printf 'sign: %s\n' "$*"; }
die() { # die MESSAGE FIX
  printf 'sign: error: %s\nsign: to mend it: %s\n' "$1" "$2" >&2
  exit 1
}

[ "$(uname -s)" = Darwin ] || die "codesign and entitlements are macOS's" "run this on a Mac"
[ $# = 1 ] || die "which Python?" "tools/sign_python.sh .venv/bin/python"

# A framework build's bin/python starts another program, Python.app, and that is what needs signing.
program="$("$1" - <<'PYTHON'
import os, sys, sysconfig
if sysconfig.get_config_var("PYTHONFRAMEWORK"):
    app = os.path.join(sys.base_prefix, "Resources/Python.app/Contents/MacOS/Python")
    print(app if os.path.exists(app) else "")
else:
    print(os.path.realpath(sys.executable))
PYTHON
)"
[ -f "$program" ] || die "$1 is a framework build without Python.app" "use a Python of 'uv python install'"
case "$program" in
  /usr/bin/* | /System/* | /Library/Developer/*)
    die "$program belongs to macOS, which protects it" "use a Python of 'uv python install', or Homebrew's"
    ;;
esac

entitlements="$(mktemp -t luminaguard)"
trap 'rm -f "$entitlements"' EXIT
cat >"$entitlements" <<'PLIST'
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>com.apple.security.virtualization</key>
  <true/>
</dict>
</plist>
PLIST

say "signing $program"
codesign --force --sign - --entitlements "$entitlements" "$program"
codesign --display --entitlements - "$program" 2>/dev/null | grep -q com.apple.security.virtualization ||
  die "the signature of $program lacks the entitlement" "see codesign's words above"
"$1" -c 'import Virtualization as v; print(v.VZVirtualMachineConfiguration.alloc().init().validateWithError_(None)[1])' |
  { ! grep -q com.apple.security.virtualization; } ||
  die "macOS does not grant the entitlement to $program" "look at: log show --last 1m --predicate 'process == \"amfid\"'"
say "done: $1 may make virtual machines"
