"""The colours that runs are told apart by."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

TONES = ("$text-primary", "$text-accent", "$text-success", "$text-secondary", "$text-warning", "$text-error")
_FIRST = 4  # that are taken first: in some themes the others look much like one of them


def run_tones(names: Iterable[str]) -> dict[str, str]:
    """A tone for each run, by its name: always the same one, unless a run that is named before it has that."""
    tones: dict[str, str] = {}
    for name in names:
        wanted = zlib.crc32(name.encode(errors="surrogatepass")) % _FIRST
        order = [*TONES[wanted:_FIRST], *TONES[:wanted], *TONES[_FIRST:]]
        tones[name] = next((tone for tone in order if tone not in tones.values()), order[0])
    return tones


def next_tone(tone: str) -> str:
    """Another one, for a second curve of the same run."""
    return TONES[(TONES.index(tone) + 1) % len(TONES)]
