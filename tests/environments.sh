#!/usr/bin/env bash
# environments.sh lowest|"3.12 3.13" PYTEST-OPTIONS...: run the tests in environments of their own, which are kept in .environments.
#
# lowest: Python 3.11 with the lowest versions that pyproject.toml allows. A number: that Python with the latest versions allowed,
# found as pythonX.Y on PATH or among pyenv's versions; where it is in neither, one line says so.
set -euo pipefail
cd "$(dirname "$0")/.."
which=$1
shift

uv() {
  if command -v uv >/dev/null && command uv --version >/dev/null 2>&1; then
    command uv "$@"
  else
    [ -x .environments/uv/bin/uv ] || {
      "${PYTHON:-python3}" -m venv .environments/uv
      .environments/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
    }
    .environments/uv/bin/uv "$@"
  fi
}

interpreter() {
  local found
  for found in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
    # a shim of pyenv is there for versions that are not chosen too
    if [ -x "$found" ] && [ "$("$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]; then
      echo "$found"
      return
    fi
  done
}

run() { # NAME PYTHON RESOLUTION PYTEST-OPTIONS...
  local place=.environments/$1 python=$2 resolution=$3
  shift 3
  mkdir -p .environments
  uv venv --quiet --clear --python "$python" "$place"
  uv pip install --quiet --python "$place/bin/python" --resolution "$resolution" --group dev --editable .
  "$place/bin/python" -m pytest "$@"
}

for name in $which; do
  version=${name/lowest/3.11}
  python=$(interpreter "$version")
  if [ -z "$python" ]; then
    echo "Python $version is not installed: its tests are passed over"
  elif [ "$name" = lowest ]; then
    run lowest "$python" lowest-direct "$@"
  else
    run "$name" "$python" highest "$@"
  fi
done
