"""Which Debian package brings a program that projects often need."""

DEBIAN = {
    "ar": "binutils", "as": "binutils", "autoconf": "autoconf", "automake": "automake",
    "bc": "bc", "bundle": "bundler", "c++": "g++", "cabal": "cabal-install", "cargo": "cargo",
    "cc": "gcc", "clang": "clang", "cmake": "cmake", "composer": "composer", "cpio": "cpio",
    "ctest": "cmake", "curl": "curl", "dot": "graphviz", "dune": "ocaml-dune", "ed": "ed",
    "elixir": "elixir", "erl": "erlang-base", "expect": "expect", "ffmpeg": "ffmpeg",
    "flake8": "flake8", "g++": "g++", "gcc": "gcc", "gdb": "gdb", "gem": "ruby",
    "ghc": "ghc", "go": "golang-go", "gofmt": "golang-go", "gpg": "gnupg", "gradle": "gradle",
    "java": "default-jre-headless", "javac": "default-jdk-headless", "jq": "jq", "ld": "binutils",
    "lua": "lua5.4", "m4": "m4", "meson": "meson", "mix": "elixir", "mvn": "maven",
    "mypy": "mypy", "nano": "nano", "ninja": "ninja-build", "nm": "binutils", "node": "nodejs",
    "objdump": "binutils", "ocaml": "ocaml", "openssl": "openssl", "pandoc": "pandoc",
    "perl": "perl", "php": "php-cli", "pkg-config": "pkgconf", "psql": "postgresql-client",
    "pylint": "pylint", "rake": "rake", "rebar3": "rebar3", "redis-cli": "redis-tools",
    "ruby": "ruby", "rustc": "rustc", "rsync": "rsync", "shellcheck": "shellcheck",
    "sqlite3": "sqlite3", "strace": "strace", "stack": "haskell-stack", "strip": "binutils",
    "swig": "swig", "tcl": "tcl", "tmux": "tmux", "tox": "tox", "tree": "tree",
    "valgrind": "valgrind", "vim": "vim", "wget": "wget", "xmllint": "libxml2-utils",
    "zstd": "zstd", "zsh": "zsh",
}  # fmt: skip
"""Program → package. Source: Debian 12's package contents."""

WITH_NPM = frozenset({"npm", "npx"})
"""Programs that `--npm` brings."""

OUTSIDE = {
    "apt": "packages are added to the image, not inside a machine",
    "apt-get": "packages are added to the image, not inside a machine",
    "brew": "machines run Linux",
    "docker": "there is no daemon inside a machine",
    "docker-compose": "there is no daemon inside a machine",
    "gh": "a machine has no network",
    "pip": "added Python packages are in the image; a machine has no network",
    "pip3": "added Python packages are in the image; a machine has no network",
    "podman": "there is no daemon inside a machine",
    "systemctl": "there is no service manager inside a machine",
}
"""Program → why an image cannot bring what it would do."""
