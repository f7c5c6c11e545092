#!/usr/bin/env bash
# Make .venv with everything Holdfast needs. Run again, it does only what is missing.
#
# Order: the environment; the pinned packages; llama.cpp from its pinned source (minutes, once per machine: the wheel is
# kept outside of the checkout); Holdfast itself, editable; a smoke test of llama.cpp on quantized models.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3.11}
VENV=${VENV:-.venv}
say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }

command -v "$PYTHON" >/dev/null || { say "$PYTHON is missing. Install Python 3.11 or newer (Debian: apt-get install python3 python3-venv), or set PYTHON=..."; exit 1; }
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { say "$PYTHON is older than 3.11. Set PYTHON=..."; exit 1; }

if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
  say "Making $VENV"
  "$PYTHON" -m venv --clear "$VENV" || { say "venv failed. Debian: apt-get install python3-venv"; exit 1; }
fi
PIP=("$VENV/bin/python" -m pip --disable-pip-version-check -q)

say "Installing the pinned packages (1 GB; several where only a GPU build of torch is offered)"
# torch first and by its exact version, so that a CPU build that the machine offers is taken rather than a newer GPU build.
"${PIP[@]}" install -c constraints.txt torch 2> >(grep -v '^WARNING: Location' >&2)
"${PIP[@]}" install -r <(grep -v -E '^(llama-cpp-python|holdfast-llama-conversion|torch)==' constraints.txt) 2> >(grep -v '^WARNING: Location' >&2)

say "llama.cpp: taking the wheel from the cache, or building it once"
wheels=$("$VENV/bin/python" scripts/llama_wheel.py build)
# shellcheck disable=SC2086 # two paths without blanks
"${PIP[@]}" install --no-deps $wheels

say "Installing Holdfast itself"
"${PIP[@]}" install --no-deps --no-build-isolation -e .

say "Installing the previous major version of OpenAI's client aside, for the tests"
[ -d "$VENV/openai-2/openai" ] || "${PIP[@]}" install --no-deps --target "$VENV/openai-2" openai==2.54.0 distro==1.9.0

say "Trying llama.cpp on quantized models"
"$VENV/bin/python" scripts/llama_wheel.py smoke
"${PIP[@]}" check
say "Ready: $VENV/bin/holdfast"
