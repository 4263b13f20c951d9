"""What exploring finds, told by page and terminal."""

from __future__ import annotations
