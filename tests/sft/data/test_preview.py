"""Rows as the model sees them, encoded where a template can be killed, by what starts without torch."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from itertools import count

import pytest

from sft.data.preview import Piece, preview
from sft.errors import SftError
from tests.sft.data.chat_formats import FORMATS, chat_of, conversation


def test_what_is_trained_is_told_apart() -> None:
    chat = chat_of("smollm2")
    (shown,) = preview([conversation(("user", "The capital?"), ("assistant", "Paris."), line=7)], chat, 5, 512)
    assert shown.pieces[-1] == Piece("Paris.<|im_end|>", True)
    assert shown.pieces[0].text.endswith("<|im_start|>user\nThe capital?<|im_end|>\n<|im_start|>assistant\n")
    assert not shown.pieces[0].trained
    assert (shown.source, shown.line, shown.changed, shown.refused) == ("rows", 7, "", "")
    assert shown.tokens == shown.full_tokens > shown.trained_tokens > 1


@pytest.mark.parametrize("name", [each.name for each in FORMATS])
def test_the_pieces_are_the_whole_text(name: str) -> None:
    """Some tokenizers drop a space when they decode a part of a text."""
    (shown,) = preview([conversation(("user", "Where am I?"), ("assistant", "You are here."))], chat_of(name), 1, 512)
    assert "You are here." in shown.pieces[1].text
    assert "Where am I?" in "".join(piece.text for piece in shown.pieces)


def test_only_the_first_rows_are_read() -> None:
    endless = (conversation(("user", "?"), ("assistant", str(line)), line=line) for line in count(1))
    assert [shown.line for shown in preview(endless, chat_of("smollm2"), 3, 512)] == [1, 2, 3]
    assert preview([], chat_of("smollm2"), 3, 512) == []


def test_what_is_left_out_or_changed_says_so() -> None:
    chat = chat_of("hugchat-gpt2")
    rows = [
        conversation(("user", "no answer")),
        conversation(("user", "Short?"), ("assistant", "Yes."), ("user", "And?"), ("assistant", "word " * 90)),
        conversation(("user", "why " * 90), ("assistant", "So.")),
        conversation(("assistant", "text " * 90), text=True),
        conversation(("user", "Short?"), ("assistant", "Yes.")),
    ]
    shown = preview(rows, chat, 9, 50)
    assert [each.changed for each in shown] == ["", "cut", "dropped", "split", ""]
    assert shown[0].refused == "nothing to train on"
    assert shown[1].pieces[-1].text == " Yes. \n\n"
    assert [each.full_tokens > 50 for each in shown] == [False, True, True, True, False]
    assert [len(each.pieces) for each in shown] == [0, 2, 0, 1, 2]
    assert preview(rows, chat, 9, 50, "drop")[1].changed == "dropped"


def test_a_template_that_fails_is_an_error() -> None:
    with pytest.raises(SftError, match="broken"):
        preview([conversation(("user", "?"), ("assistant", "!"))], replace(chat_of("gemma"), template="{%"), 1, 512)


def test_a_template_that_hears_no_signal_loses_its_process() -> None:
    """Comparing deep lists runs no Python, so an alarm's handler never does either."""
    program = (
        "from dataclasses import replace; from sft.data.masking import Encoder\n"
        "from tests.sft.data.chat_formats import chat_of, conversation\n"
        "template = '{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}'\n"
        "template += '{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}'\n"
        "encoder = Encoder(replace(chat_of('smollm2'), template=template), time_limit_s=0.05)\n"
        "encoder.encode(conversation(('user', '?'), ('assistant', '!')))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGVTALRM


@pytest.mark.parametrize("module", ["prepare", "preview", "packing", "encoding_process", "tokenizer"])
def test_it_starts_without_the_heavy_libraries(module: str) -> None:
    program = f"import sys, sft.data.{module}; print({{'torch', 'transformers', 'peft', 'textual'}} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"
