#!/usr/bin/env bash
# Puts the driver and axe-core beside this file, and says what else is missing: a browser needs root.
set -euo pipefail
cd "$(dirname "$0")"
command -v npm >/dev/null || { echo "node and npm are missing: install them first" >&2; exit 1; }
npm install --no-save --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error
command -v chromium >/dev/null || command -v google-chrome >/dev/null || echo "Chromium is missing: apt-get install -y chromium" >&2
