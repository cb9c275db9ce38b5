"""A process that encodes rows: `python -m sft.data.encoding_process CHANNEL NOTE`, started by sft.data.encoding_pool.

It runs chat templates from outside, so it can be killed, has a limit on its memory (Linux), and notes which row it is
at, in four bytes that its parent can still read when it is gone. It ends when its parent does: nothing more comes then.

CHANNEL: descriptor of a socket with messages in MessagePack. In: Setup, then lists of conversations. Out: for Setup an
empty message or Failure, for each list EncodedBatch or Failure. NOTE: descriptor of the four bytes.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from sft.data.conversation import Conversation
from sft.data.duplicates import fingerprint
from sft.data.masking import Document, Encoder
from sft.data.rendering import BrokenTemplateError, Rendering, RowRefusedError
from sft.data.shards import DOCUMENT, token_dtype
from sft.data.tokenizer import ChatTokenizer

TooLong = Literal["cut", "drop"]

NOTE = struct.Struct("<I")
WHOLE_BATCH = 0xFFFFFFFF  # noted while the tokens of all rows are made
_MORE_MEMORY = 2 << 30


class Setup(msgspec.Struct, tag=True):
    chat: ChatTokenizer
    max_length: int
    too_long: TooLong


class Refused(msgspec.Struct, array_like=True):
    """row: its number in the batch."""

    row: int
    reason: str
    detail: str


class EncodedBatch(msgspec.Struct, tag=True):
    """What became of a list of conversations.

    ids, trained, documents: as in a shard, documents in the order of the rows. rows: int32, each document's row.
    lengths: int32, of each row that was encoded, before it was cut. cut, split, dropped: rows that were too long.
    """

    ids: bytes
    trained: bytes
    documents: bytes
    rows: bytes
    lengths: bytes
    cut: list[int]
    split: list[int]
    dropped: list[int]
    refused: list[Refused]


class Failure(msgspec.Struct, tag=True):
    """Nothing can go on. row: at which row of the batch, -1 for none."""

    error: str
    hint: str
    row: int


def cut_to_fit(document: Document, max_length: int) -> Document | None:
    """Whole turns from the start, as many as fit. Where not even the first one does, its first tokens.

    None when nothing trained would be left.
    """
    end = max((turn_end for turn_end in document.turn_ends if turn_end <= max_length), default=0)
    if not document.trained[:end].any():
        end = max_length
    if not document.trained[:end].any():
        return None
    return Document(
        document.ids[:end], document.trained[:end], tuple(each for each in document.turn_ends if each <= end)
    )


def _trains_whole_turns(document: Document, max_length: int) -> bool:
    """Whether anything is trained in the whole turns that fit."""
    end = max((turn_end for turn_end in document.turn_ends if turn_end <= max_length), default=0)
    return bool(document.trained[:end].any())


def pieces_of(document: Document, max_length: int) -> list[Document]:
    """A text as documents of max_length tokens; the last one has the rest."""
    starts = range(0, len(document.ids), max_length)
    return [Document(document.ids[at : at + max_length], document.trained[at : at + max_length], ()) for at in starts]


class BatchEncoder:
    """Encodes lists of conversations. noted: told the number of the row that is at hand."""

    def __init__(self, setup: Setup, note: Note) -> None:
        """Raises BrokenTemplateError."""
        self._encoder = Encoder(setup.chat)
        self._max_length = setup.max_length
        self._too_long = setup.too_long
        self._dtype = token_dtype(setup.chat.vocabulary)
        self._note = note

    def encode(self, conversations: Sequence[Conversation]) -> EncodedBatch | Failure:
        batch = EncodedBatch(b"", b"", b"", b"", b"", [], [], [], [])
        renderings: list[Rendering | RowRefusedError] = []
        for number, conversation in enumerate(conversations):
            self._note.write(number)
            try:
                renderings.append(self._encoder.render(conversation))
            except BrokenTemplateError as error:
                return Failure(error.message, error.hint, number)
        self._note.write(WHOLE_BATCH)
        outcomes = self._encoder.tokenize(conversations, renderings)
        documents: list[Document] = []
        rows: list[int] = []
        lengths: list[int] = []
        for number, (conversation, outcome) in enumerate(zip(conversations, outcomes, strict=True)):
            if isinstance(outcome, RowRefusedError):
                batch.refused.append(Refused(number, outcome.reason, outcome.detail))
                continue
            lengths.append(len(outcome.ids))
            fitting = self._fitting(conversation, outcome, number, batch)
            documents += fitting
            rows += [number] * len(fitting)
        self._fill(batch, conversations, documents, rows)
        batch.lengths = np.array(lengths, np.int32).tobytes()
        return batch

    def _fitting(self, conversation: Conversation, document: Document, row: int, batch: EncodedBatch) -> list[Document]:
        if len(document.ids) <= self._max_length:
            return [document]
        if self._too_long == "drop":
            batch.dropped.append(row)
            return []
        if conversation.text:
            batch.split.append(row)
            return pieces_of(document, self._max_length)
        rest = cut_to_fit(document, self._max_length)
        if not _trains_whole_turns(document, self._max_length):
            rest = self._without_oldest(conversation) or rest
        (batch.dropped if rest is None else batch.cut).append(row)
        return [] if rest is None else [rest]

    def _without_oldest(self, conversation: Conversation) -> Document | None:
        """Without the oldest exchanges, which nothing is trained in, where that lets a trained turn fit whole.

        So are rows whose last answer is what somebody marked; cut at the end they would train nothing.
        """
        first = 1 if conversation.messages[0].role == "system" else 0
        system, turns = conversation.messages[:first], conversation.messages[first:]
        while len(turns) > 2 and not (turns[0].role == "user" and turns[1].trained):
            turns = turns[2:]
            try:
                (found,) = self._encoder.encode_all([replace(conversation, messages=(*system, *turns))])
            except BrokenTemplateError:
                return None
            if isinstance(found, Document) and _trains_whole_turns(found, self._max_length):
                return found if len(found.ids) <= self._max_length else cut_to_fit(found, self._max_length)
        return None

    def _fill(
        self, batch: EncodedBatch, conversations: Sequence[Conversation], documents: list[Document], rows: list[int]
    ) -> None:
        records = np.zeros(len(documents), DOCUMENT)
        lengths = np.array([len(document.ids) for document in documents], np.int64)
        records["start"] = np.cumsum(lengths) - lengths
        records["length"] = lengths
        records["trained"] = [np.count_nonzero(document.trained) for document in documents]
        contents = {row: fingerprint(conversations[row]) for row in set(rows)}
        records["content"] = [contents[row] for row in rows]
        batch.documents = records.tobytes()
        batch.rows = np.array(rows, np.int32).tobytes()
        batch.ids = b"".join(document.ids.astype(self._dtype).tobytes() for document in documents)
        batch.trained = b"".join(document.trained.tobytes() for document in documents)


class Note:
    """Four bytes that outlive the process which wrote them. descriptor: of a file of that size."""

    def __init__(self, descriptor: int) -> None:
        self._bytes = mmap.mmap(descriptor, NOTE.size)

    def write(self, number: int) -> None:
        NOTE.pack_into(self._bytes, 0, number)

    def read(self) -> int:
        number: int = NOTE.unpack_from(self._bytes)[0]
        return number


def _limit_memory() -> None:
    if sys.platform == "linux":  # elsewhere the limit is not kept
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _MORE_MEMORY, used + _MORE_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    # Both are for the parent, and we end when it does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel = Connection(int(sys.argv[1]))
    note = Note(int(sys.argv[2]))
    os.close(int(sys.argv[2]))
    conversations_of = msgspec.msgpack.Decoder(list[Conversation])
    encode = msgspec.msgpack.Encoder().encode
    with suppress(EOFError, ConnectionError):
        try:
            encoder = BatchEncoder(msgspec.msgpack.decode(channel.recv_bytes(), type=Setup), note)
        except BrokenTemplateError as error:
            channel.send_bytes(encode(Failure(error.message, error.hint, -1)))
            return
        _limit_memory()
        channel.send_bytes(b"")
        while True:
            channel.send_bytes(encode(encoder.encode(conversations_of.decode(channel.recv_bytes()))))


if __name__ == "__main__":
    main()
