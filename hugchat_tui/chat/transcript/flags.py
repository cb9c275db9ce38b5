"""How characters of running text may look; a look is a sum of these."""

from __future__ import annotations

BOLD, ITALIC, STRIKE, CODE, LINK, DIM = 1, 2, 4, 8, 16, 32
