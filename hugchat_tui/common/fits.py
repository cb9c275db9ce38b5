"""An estimate of how a checkpoint fits into memory, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hugchat_tui.common.format import grouped, memory_size

if TYPE_CHECKING:
    from engine.fit import Fit

_WORDS = {"fits": "fits", "tight": "only just fits", "no": "does not fit"}


def fit_line(fit: Fit) -> str:
    """A line that says what is needed, what there is, and the longest context; empty when nothing is known."""
    word = _WORDS.get(fit.verdict)
    if word is None:
        return ""
    largest = f"; room for a context of {grouped(fit.largest_context)} tokens" if fit.largest_context else ""
    return f"{word}, an estimate: about {memory_size(fit.needed)} of {memory_size(fit.available)}{largest}"
