#!/usr/bin/env bash
# Make this machine ready for LuminaGuard: host programs by apt, Python packages into .venv.
# `setup.sh tests` also installs what only the tests need: independent readers of our formats, and
# the backends that a host may do without: their tests are skipped, with the reason, where it must.
#
# Safe to run again at any time; does nothing, in well under a second, when nothing changed.
# Uses only what the machine's own apt and pip are configured with. Asks for root (sudo) only
# when a host program is really missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly STAMP=.venv/.luminaguard-setup
FOR_TESTS=no
[ "${1:-}" != tests ] || FOR_TESTS=yes
readonly MIN_FREE_MIB=1500 # qemu with its libraries ~450 MiB, .venv ~400 MiB, and room to unpack
PATH="$PATH:/usr/sbin:/sbin" # mkfs.ext4 lives there, and ordinary users often lack it
export PATH

say() { printf 'setup: %s\n' "$*"; }

die() { # die MESSAGE FIX
  printf 'setup: error: %s\n' "$1" >&2
  printf 'setup: to mend it: %s\n' "$2" >&2
  exit 1
}

case "$(uname -m)" in
  aarch64 | arm64) readonly QEMU=qemu-system-aarch64 QEMU_PACKAGE=qemu-system-arm ;;
  *) readonly QEMU=qemu-system-x86_64 QEMU_PACKAGE=qemu-system-x86 ;;
esac

# ---------------------------------------------------------------- Python: the newest that fits

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
makes_venvs() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

find_python() { # prints the newest fitting python, one that can make a venv before one that cannot
  local candidate second=
  for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
    if ! command -v "$candidate" >/dev/null || ! fits "$candidate"; then continue; fi
    if makes_venvs "$candidate"; then
      command -v "$candidate"
      return
    fi
    [ -n "$second" ] || second="$(command -v "$candidate")"
  done
  printf '%s' "$second"
}

# ---------------------------------------------------------------- host programs

kernel_is_zstd() { grep -qs '^ID=ubuntu' /etc/os-release; } # Ubuntu's kernel modules are .ko.zst

missing_packages() { # one apt package a line, each once
  wanted_packages | sort -u
}

wanted_packages() {
  command -v "$QEMU" >/dev/null || echo "$QEMU_PACKAGE"
  command -v mksquashfs >/dev/null || echo squashfs-tools
  command -v apparmor_parser >/dev/null || echo apparmor
  command -v secilc >/dev/null || echo secilc
  command -v bwrap >/dev/null || echo bubblewrap
  command -v mkfs.ext4 >/dev/null || echo e2fsprogs
  ! kernel_is_zstd || command -v zstd >/dev/null || echo zstd
  command -v git >/dev/null || echo git
  command -v make >/dev/null || echo make
  [ -s /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
  if [ "$FOR_TESTS" = yes ]; then
    command -v fsck.erofs >/dev/null || echo erofs-utils
    command -v cpio >/dev/null || echo cpio
    command -v zstd >/dev/null || echo zstd
    command -v newuidmap >/dev/null || echo uidmap
    command -v apparmor_parser >/dev/null || echo apparmor
  fi
  if [ -z "$PYTHON" ]; then
    echo python3
    echo python3-venv
  elif [ "$PYTHON" != .venv/bin/python ] && ! makes_venvs "$PYTHON"; then
    "$PYTHON" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
  fi
}

free_mib() { df -Pm "$1" | awk 'NR == 2 { print $4 }'; }

require_space() { # require_space DIRECTORY
  local free_mib
  free_mib="$(free_mib "$1")"
  [ "$free_mib" -ge "$MIN_FREE_MIB" ] ||
    die "only $free_mib MiB are free on the disk of $1; $MIN_FREE_MIB MiB are needed" \
      "free some space and run 'make setup' again"
}

as_root() {
  local settings=(DEBIAN_FRONTEND=noninteractive) name
  for name in http_proxy https_proxy no_proxy; do
    [ -z "${!name:-}" ] || settings+=("$name=${!name}")
  done
  if [ "$(id -u)" = 0 ]; then
    env "${settings[@]}" "$@"
  else
    sudo env "${settings[@]}" "$@"
  fi
}

require_root() { # require_root PACKAGES...
  [ "$(id -u)" != 0 ] || return 0
  local fix="run this as root once: apt-get update && apt-get install --no-install-recommends $*"
  command -v sudo >/dev/null || die "host programs are missing ($*), and there is no sudo here to install them" "$fix"
  if ! sudo -n true 2>/dev/null; then
    [ -t 0 ] || die "host programs are missing ($*); sudo wants a password and there is no terminal to ask on" "$fix"
    say "sudo may ask for your password, to install: $*"
  fi
}

readonly NO_NETWORK='could not (resolve|connect)|temporary failure|unable to connect|timed out'

explain_full_disk() { # explain_full_disk LOG: ends here if that is what went wrong
  ! grep -qiE 'no space left|enough free space' "$1" && [ "$(free_mib .)" -gt 20 ] && [ "$(free_mib /tmp)" -gt 20 ] && return
  die "the disk is full" "free at least $MIN_FREE_MIB MiB and run 'make setup' again"
}

explain_apt() { # explain_apt LOG PACKAGES...: ends with the error and its fix
  local log="$1"
  shift
  tail -n 15 "$log" >&2
  explain_full_disk "$log"
  if grep -qiE "$NO_NETWORK|failed to fetch" "$log"; then
    die "apt could not reach its package sources" "check the network, proxy and apt sources, then run 'make setup' again"
  elif grep -qi 'could not get lock' "$log"; then
    die "another package installation is running" "wait for it to end and run 'make setup' again"
  elif grep -qiE 'unable to locate|no installation candidate' "$log"; then
    die "apt's sources do not offer one of: $*" "enable Debian 'main', or Ubuntu 'main' and 'universe', then run 'make setup' again"
  fi
  die "apt could not install: $*" "see apt's own words above"
}

apt_install() { # apt_install PACKAGES...
  local log options=(-y -q -o DPkg::Lock::Timeout=120)
  log="$(mktemp)"
  # shellcheck disable=SC2064 # the name is wanted as it is now
  trap "rm -f '$log'" EXIT
  if ! compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null; then
    say "fetching package lists (apt-get update)"
    as_root apt-get "${options[@]}" update >"$log" 2>&1 || explain_apt "$log" "$@"
  fi
  say "installing host programs: $*"
  if ! as_root apt-get "${options[@]}" --no-install-recommends install "$@" >"$log" 2>&1; then
    if grep -qiE "$NO_NETWORK" "$log" || ! grep -qiE 'unable to locate|failed to fetch|no installation candidate' "$log"; then
      explain_apt "$log" "$@"
    fi
    say "package lists look old: fetching them again (apt-get update)"
    as_root apt-get "${options[@]}" update >"$log" 2>&1 || explain_apt "$log" "$@"
    as_root apt-get "${options[@]}" --no-install-recommends install "$@" >"$log" 2>&1 || explain_apt "$log" "$@"
  fi
  rm -f "$log"
}

install_host_programs() {
  local packages
  mapfile -t packages < <(missing_packages)
  [ "${#packages[@]}" -gt 0 ] || return 0
  command -v apt-get >/dev/null ||
    die "missing on this machine: ${packages[*]} (Debian package names), and there is no apt-get" "install their equivalents with this system's package manager"
  require_root "${packages[@]}"
  require_space /usr
  apt_install "${packages[@]}"
  [ "$PYTHON" = .venv/bin/python ] || PYTHON="$(find_python)"
  mapfile -t packages < <(missing_packages)
  [ "${#packages[@]}" = 0 ] || die "still missing after the installation: ${packages[*]}" "install them by hand, or use Debian 12, 13 or Ubuntu 24.04"
}

# ---------------------------------------------------------------- what a host may do without

optional_packages() {
  [ "$FOR_TESTS" = yes ] || return 0
  command -v runsc >/dev/null || echo runsc # gVisor: not in Ubuntu, nor for every processor
}

may_install() { [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }; }

install_optional() { # never fails: says what is left out
  local package
  for package in $(optional_packages); do
    if compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null && ! apt-cache show "$package" >/dev/null 2>&1; then
      say "going on without $package: apt offers none; its tests will be skipped"
    elif ! command -v apt-get >/dev/null; then
      say "going on without $package: there is no apt-get; its tests will be skipped"
    elif ! may_install; then
      say "going on without $package: installing it needs root; its tests will be skipped"
    elif ! (apt_install "$package") 2>/dev/null; then # a shell of its own: it ends when apt fails
      say "going on without $package: it could not be installed; its tests will be skipped"
    fi
  done
}

# Ubuntu 24.04 gives ordinary users namespaces only through an AppArmor profile for the program.
# Its own one for bwrap takes every capability from what bwrap starts, which is all that we need.
allow_namespaces() {
  local profile=/usr/share/apparmor/extra-profiles/bwrap-userns-restrict
  [ "$(id -u)" != 0 ] || return 0
  ! bwrap --unshare-user --ro-bind / / true 2>/dev/null || return 0
  [ "$(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2>/dev/null)" = 1 ] || return 0
  require_root apparmor-profiles
  [ -f "$profile" ] || apt_install apparmor apparmor-profiles
  say "letting bwrap make namespaces, by the AppArmor profile bwrap-userns-restrict"
  if ! as_root cp "$profile" /etc/apparmor.d/ || ! as_root apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict; then
    die "AppArmor forbids ordinary users the namespaces that confine a micro-VM" "run LuminaGuard as root, or allow bwrap 'userns' in an AppArmor profile"
  fi
}

require_python() {
  [ -z "$PYTHON" ] || return 0
  local found=none
  ! command -v python3 >/dev/null || found="$(python3 --version 2>&1)"
  [ "$found" = none ] || die "Python 3.11 or newer is needed; found $found" "install a newer one (Debian 12 and Ubuntu 24.04 have one) so that 'python3.11' or newer is on PATH"
}

# ---------------------------------------------------------------- the Python environment

fingerprint() { # changes when anything that shapes .venv changes
  { cat pyproject.toml constraints.txt && pwd; } | sha256sum | cut -d' ' -f1
}

venv_is_current() {
  [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint)" ] && .venv/bin/python -c '' 2>/dev/null
}

explain_pip() { # explain_pip LOG
  tail -n 15 "$1" >&2
  explain_full_disk "$1"
  if grep -qiE "connection|certificate|$NO_NETWORK" "$1"; then
    die "pip could not reach its package index" "check the network, proxy and pip configuration ('pip config list'), then run 'make setup' again"
  elif grep -qiE 'no matching distribution|could not find a version|conflicting dependencies' "$1"; then
    die "pip's package index could not be asked for a pinned version, or does not have it" \
      "check the network and 'pip config list'; constraints.txt names the versions"
  fi
  die "pip could not install the Python packages" "see pip's own words above"
}

pip_install() {
  local log
  log="$(mktemp)"
  # shellcheck disable=SC2064 # the name is wanted as it is now
  trap "rm -f '$log'" EXIT
  .venv/bin/python -m pip --disable-pip-version-check --no-input install --quiet -c constraints.txt "$@" \
    >"$log" 2>&1 || explain_pip "$log"
  rm -f "$log"
}

make_venv() {
  require_space .
  if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    say "creating .venv with $("$PYTHON" --version)"
    "$PYTHON" -m venv --clear .venv ||
      die "Python could not create .venv" "check that $PWD is writable and has space, then run 'make setup' again"
  fi
  say "installing Python packages into .venv (constraints.txt)"
  rm -f "$STAMP"
  pip_install setuptools # pinned too: the build below must not fetch its own
  pip_install --no-build-isolation -e '.[dev,mcp,models]'
  fingerprint >"$STAMP"
}

[ -w . ] || die "$PWD is not writable by $(id -un)" "use a checkout of your own"
if venv_is_current; then
  PYTHON=.venv/bin/python
  install_host_programs
else
  PYTHON="$(find_python)"
  require_python
  install_host_programs
  make_venv
fi
install_optional
allow_namespaces
say "ready"
