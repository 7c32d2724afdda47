# Sourced by the other scripts: the repository's folder in $root, a newer Meson (see setup) first in PATH,
# and the libraries that Homebrew keeps apart from the system's.
# shellcheck shell=bash
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
export PATH="$root/.venv/bin:$PATH"
if [ "$(uname)" = Darwin ] && command -v brew >/dev/null; then
    PKG_CONFIG_PATH="$(brew --prefix)/opt/curl/lib/pkgconfig:${PKG_CONFIG_PATH:-}"
    export PKG_CONFIG_PATH
fi
