"""Rows as the model will see them, with what is trained told apart from what is not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from tokenizers import Tokenizer

from sft.data.conversation import Conversation
from sft.data.encoding_pool import EncodingPool
from sft.data.encoding_process import EncodedBatch, Setup, TooLong
from sft.data.shards import DOCUMENT, token_dtype
from sft.data.tokenizer import ChatTokenizer


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text whose tokens are all trained, or all not. It carries text from outside, not cleaned."""

    text: str
    trained: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """What becomes of a row. refused: why it has no document. changed: "cut", "split" (the first part is shown),
    "dropped", or "". tokens, trained_tokens: of the pieces; full_tokens: before it was cut."""

    source: str
    line: int
    pieces: tuple[Piece, ...] = ()
    tokens: int = 0
    trained_tokens: int = 0
    full_tokens: int = 0
    refused: str = ""
    changed: str = ""


def preview(
    conversations: Iterable[Conversation], chat: ChatTokenizer, n: int, max_length: int, too_long: TooLong = "cut"
) -> list[Shown]:
    """The first n conversations, encoded as `prepare` does, by a process of their own. Raises SftError."""
    rows = list(islice(conversations, n))
    if not rows:
        return []
    with EncodingPool(Setup(chat, max_length, too_long), workers=1) as pool:
        encoded = pool.submit(rows).result()
    return _shown(rows, encoded, chat)


def _shown(rows: list[Conversation], encoded: EncodedBatch, chat: ChatTokenizer) -> list[Shown]:
    tokenizer = Tokenizer.from_str(chat.tokenizer_json)
    ids = np.frombuffer(encoded.ids, token_dtype(chat.vocabulary))
    trained = np.frombuffer(encoded.trained, np.bool_)
    documents = np.frombuffer(encoded.documents, DOCUMENT)
    first_of = {int(row): at for at, row in reversed(list(enumerate(np.frombuffer(encoded.rows, np.int32))))}
    refused = {each.row: f"{each.reason}: {each.detail}".removesuffix(": ") for each in encoded.refused}
    lengths = iter(np.frombuffer(encoded.lengths, np.int32).tolist())
    changed = {
        **dict.fromkeys(encoded.cut, "cut"),
        **dict.fromkeys(encoded.split, "split"),
        **dict.fromkeys(encoded.dropped, "dropped"),
    }
    shown = []
    for number, row in enumerate(rows):
        if number in refused:
            shown.append(Shown(row.source, row.line, refused=refused[number]))
            continue
        full = next(lengths)
        if number not in first_of:
            shown.append(Shown(row.source, row.line, full_tokens=full, changed=changed[number]))
            continue
        document = documents[first_of[number]]
        part = slice(int(document["start"]), int(document["start"]) + int(document["length"]))
        shown.append(
            Shown(
                row.source,
                row.line,
                pieces(tokenizer, ids[part].tolist(), trained[part].tolist()),
                int(document["length"]),
                int(document["trained"]),
                full,
                changed=changed.get(number, ""),
            )
        )
    return shown


def pieces(tokenizer: Tokenizer, ids: list[int], trained: list[bool]) -> tuple[Piece, ...]:
    """The text of the tokens, in stretches. Special tokens are spelled out."""
    found = []
    borders = [at for at in range(1, len(ids)) if trained[at] != trained[at - 1]]
    done = ""
    for start, end in zip([0, *borders], [*borders, len(ids)], strict=True):
        # All from the start, for a tokenizer may drop the space before what it takes for the first word.
        text = tokenizer.decode(ids[:end], skip_special_tokens=False)
        found.append(Piece(text.removeprefix(done), trained[start]))
        done = text
    return tuple(found)
