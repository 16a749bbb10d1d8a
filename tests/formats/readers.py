"""Readers that bring torch, or much else, may have a Python of their own: $RT2DATA_READERS_PYTHON names it."""

from __future__ import annotations

import os
import sys

READERS = os.environ.get("RT2DATA_READERS_PYTHON", sys.executable)
