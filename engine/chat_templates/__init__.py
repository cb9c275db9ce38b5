"""Chat formats as Jinja templates: HugChat's own, and a renderer that no template can hang."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

# What ends an answer in HugChat's format: a blank line, or the model starting the person's next turn itself.
HUGCHAT_STOPS = ("\n\n", "[Human]:")


@cache
def hugchat_template() -> str:
    """The text of hugchat.jinja, the format of checkpoints that ship no template.

    Source: HugNLP's corpora and its training processor, where a turn is `[Human]: q \\n [HugChat]: a \\n\\n`.
    """
    return files(__name__).joinpath("hugchat.jinja").read_text(encoding="utf-8")
