"""What is wrong with the settings, said so that a person can put it right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hugchat_tui.settings.schema import Settings


class SettingsError(Exception):
    """All that is wrong at once.

    problems: one line each, with where it stands (file and line, environment variable, or command line), what it is
    and what was probably meant; they may quote text from outside and have not been cleaned. usable: the settings with
    everything that is right, and the usual values for the rest.
    """

    def __init__(self, problems: Iterable[str], usable: Settings) -> None:
        self.problems = tuple(problems)
        self.usable = usable
        super().__init__("\n".join(self.problems))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: "; did you mean X?" when a known one is near, else "."."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else "."


def quoted(value: object, limit: int = 60) -> str:
    """A value as it may stand in an error: text in quotes, shortened visibly when it is long."""
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"
