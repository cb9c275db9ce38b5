"""Fills the folder of a set: rows drawn, encoded by other processes, and written in the order of their sources."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from engine.checkpoints.making import flush_tree
from sft.data.building import TooManyBadRowsError
from sft.data.conversation import BadRow, Conversation
from sft.data.encoding_pool import EncodingPool
from sft.data.encoding_process import EncodedBatch, Setup
from sft.data.held_out import held_out_mask
from sft.data.histogram import histogram
from sft.data.identity import VERSION
from sft.data.journal import JOURNAL, Journal, State, problems_of, reasons
from sft.data.mixing import Drawn, draw
from sft.data.reading_position import ReadingPosition
from sft.data.seen import Seen
from sft.data.shards import DOCUMENT, HELD_OUT, META, Meta, ShardWriter, shard_name, token_dtype
from sft.data.sources import Source

# A shard ends, and is not lost any more, when it has so many tokens or so many rows were read for it.
SHARD_TOKENS = 4_000_000
SHARD_ROWS = 100_000
BATCH_ROWS = 256
BATCH_CHARACTERS = 1 << 20
LARGEST_ROW = 4 << 20  # characters; tokens of a row take some hundred times as many bytes while they are made
HOPELESS_ROWS = 1000  # so many must be read before the work is given up for more than half of them being bad


class Report(Protocol):
    @property
    def due(self) -> bool: ...

    def __call__(self, rows: int, bytes_done: int, bytes_total: int, documents: int, tokens: int) -> None: ...


@dataclass(slots=True)
class _Batch:
    """Rows of one source, good and bad, in their order. characters: of the good ones. bytes_*: once they were read."""

    source: int
    drawn: list[Drawn] = field(default_factory=list)
    conversations: list[Conversation] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    characters: int = 0
    bytes_done: int = 0
    bytes_total: int = 0

    def add(self, drawn: Drawn) -> None:
        row = drawn.row
        if isinstance(row, Conversation):
            characters = sum(len(message.content) for message in row.messages)
            if characters > LARGEST_ROW:
                row = BadRow(row.source, row.line, "too large a row", f"{characters:,} characters")
                drawn = Drawn(row, drawn.number, drawn.times)
            else:
                self.conversations.append(row)
                self.times.append(drawn.times)
                self.characters += characters
        self.drawn.append(drawn)

    @property
    def full(self) -> bool:
        return len(self.drawn) >= BATCH_ROWS or self.characters >= BATCH_CHARACTERS


class Filling:
    """Makes a set in a folder, from where the folder's journal says. Leaving its `with` block ends its processes."""

    def __init__(self, directory: Path, setup: Setup, workers: int, report: Report) -> None:
        self._directory = directory
        self._setup = setup
        self._ahead = 2 * workers  # batches read before their turn to be written
        self._report = report
        self._dtype = token_dtype(setup.chat.vocabulary)
        self._pool = EncodingPool(setup, workers)
        self._journal = Journal(directory)
        self._state = self._journal.last(self._dtype) or State(
            lengths=histogram(np.zeros(0, np.int32), setup.max_length)
        )
        self._problems = problems_of(self._state.rows, self._state.bad, self._state.noted)
        self._seen: Seen | None = None
        self._writer: ShardWriter | None = None

    def __enter__(self) -> Filling:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
        if self._writer is not None:
            self._writer.abandon()

    def fill(
        self,
        sources: Sequence[Source],
        position: ReadingPosition,
        *,
        seed: int,
        deduplicate: bool,
        evaluation: int,
        bad_share: float,
    ) -> None:
        """Read all sources and write all shards. evaluation: number of the source that is all held out, or -1.

        Raises TooManyBadRowsError, SftError, OSError.
        """
        if deduplicate:
            self._seen = self._seen_so_far()
        pending: deque[tuple[_Batch, Future[EncodedBatch]]] = deque()
        for batch in self._batches(sources, position, seed):
            pending.append((batch, self._pool.submit(batch.conversations)))
            while len(pending) > self._ahead or (pending and pending[0][1].done()):
                self._take(*pending.popleft(), evaluation, bad_share)
        while pending:
            self._take(*pending.popleft(), evaluation, bad_share)
        self._close_shard()

    def finish(self, *, held_out: float, seed: int, too_long: str, fingerprint: str) -> None:
        """What describes the set as a whole, all on the disk. Raises OSError."""
        state = self._state
        contents = np.concatenate([np.zeros(0, np.uint64), *(each["content"] for each in self._records())])
        if state.evaluation_from >= 0:
            mask = np.arange(len(contents)) >= state.evaluation_from
        else:
            mask = held_out_mask(contents, held_out, seed)
        (self._directory / HELD_OUT).write_bytes(mask.tobytes())
        meta = Meta(
            version=VERSION,
            max_length=self._setup.max_length,
            too_long=too_long,
            vocabulary=self._setup.chat.vocabulary,
            fingerprint=fingerprint,
            documents=state.documents,
            tokens=state.tokens,
            trained_tokens=state.trained_tokens,
            held_out=int(np.count_nonzero(mask)),
            shards=state.shards,
            rows=self._problems.rows,
            duplicates=state.duplicates,
            cut=state.cut,
            split=state.split,
            dropped=state.dropped,
            bad=reasons(self._problems.bad),
            noted=reasons(self._problems.noted),
            lengths=state.lengths,
        )
        (self._directory / META).write_bytes(msgspec.json.format(msgspec.json.encode(meta), indent=2))
        (self._directory / JOURNAL).unlink(missing_ok=True)
        flush_tree(self._directory)

    # Reading ahead

    def _batches(self, sources: Sequence[Source], position: ReadingPosition, seed: int) -> Iterator[_Batch]:
        """From where the journal ends. Batches are always the same, for each begins where another one ended."""
        first, row, taken = self._state.source, self._state.row, self._state.taken
        done = 0
        for number, source in enumerate(sources[first:], first):
            batch = _Batch(number)
            for drawn in draw(source, seed, skip=row, taken=taken):
                batch.add(drawn)
                if batch.full:
                    if self._report.due:
                        done = position.read(number)
                    batch.bytes_done, batch.bytes_total = done, position.total
                    yield batch
                    batch = _Batch(number)
            done = position.end(number)
            if batch.drawn:
                batch.bytes_done, batch.bytes_total = done, position.total
                yield batch
            row = taken = 0

    # Writing in order

    def _take(
        self,
        batch: _Batch,
        future: Future[EncodedBatch],
        evaluation: int,
        bad_share: float,
    ) -> None:
        encoded = future.result()
        state = self._state
        if batch.source == evaluation and state.evaluation_from < 0:
            state.evaluation_from = state.documents
        self._count(batch, encoded)
        self._write(batch, encoded)
        if batch.source != state.source:
            state.source, state.taken = batch.source, 0
        state.row = batch.drawn[-1].number + 1
        state.taken += sum(batch.times)
        written = self._writer.tokens if self._writer is not None else 0
        if written >= SHARD_TOKENS or self._problems.rows - state.rows >= SHARD_ROWS:
            self._close_shard()
        if self._problems.rows >= HOPELESS_ROWS and self._problems.share > max(bad_share, 0.5):
            raise TooManyBadRowsError(self._problems, bad_share)
        self._report(self._problems.rows, batch.bytes_done, batch.bytes_total, state.documents, state.tokens)

    def _count(self, batch: _Batch, encoded: EncodedBatch) -> None:
        refused = {each.row: each for each in encoded.refused}
        number = 0  # of the conversation in the batch
        for drawn in batch.drawn:
            row = drawn.row
            if isinstance(row, Conversation):
                if why := refused.get(number):
                    row = BadRow(row.source, row.line, why.reason, why.detail)
                number += 1
            self._problems.add(row)
        lengths = np.frombuffer(encoded.lengths, np.int32)
        self._state.lengths += histogram(lengths, self._setup.max_length)

    def _write(self, batch: _Batch, encoded: EncodedBatch) -> None:
        state = self._state
        records = np.frombuffer(encoded.documents, DOCUMENT)
        rows = np.frombuffer(encoded.rows, np.int32)
        times = np.array(batch.times, np.int64)
        if self._seen is not None:
            numbers, first = np.unique(rows, return_index=True)
            repeated = numbers[~self._seen.first_time(records["content"][first])]
            times[repeated] = 0
            state.duplicates += len(repeated)
        # A row that was dropped has no documents, and was not looked for among those seen.
        state.dropped += len(encoded.dropped)
        state.cut += int(np.count_nonzero(times[encoded.cut]))
        state.split += int(np.count_nonzero(times[encoded.split]))
        repeats = times[rows]
        ids, trained = encoded.ids, encoded.trained
        if not (repeats == 1).all():
            chosen = np.repeat(np.arange(len(records)), repeats)
            ids = _pieces(ids, records, chosen, self._dtype.itemsize)
            trained = _pieces(trained, records, chosen, 1)
            records = records[chosen]
            records["start"] = np.cumsum(records["length"]) - records["length"]
        if not len(records):
            return
        if self._writer is None:
            self._writer = ShardWriter(self._directory, len(state.shards))
        self._writer.write(ids, trained, records)
        state.documents += len(records)
        state.tokens += int(records["length"].sum(dtype=np.int64))
        state.trained_tokens += int(records["trained"].sum(dtype=np.int64))

    def _close_shard(self) -> None:
        """Only now does it count: the journal names it. Where no row had a document, there is no shard to name."""
        state = self._state
        if self._writer is not None:
            state.shards = (*state.shards, self._writer.close())
            self._writer = None
        state.rows = self._problems.rows
        state.bad = reasons(self._problems.bad)
        state.noted = reasons(self._problems.noted)
        self._journal.append(state)

    def _seen_so_far(self) -> Seen:
        seen = Seen()
        for records in self._records():
            seen.add(np.unique(records["content"]))
        return seen

    def _records(self) -> Iterator[npt.NDArray[np.void]]:
        for number in range(len(self._state.shards)):
            yield np.fromfile(self._directory / f"{shard_name(number)}.documents", DOCUMENT)


def _pieces(content: bytes, records: npt.NDArray[np.void], chosen: npt.NDArray[np.int64], width: int) -> bytes:
    starts = (records["start"] * width).tolist()
    ends = ((records["start"] + records["length"]) * width).tolist()
    return b"".join(content[starts[number] : ends[number]] for number in chosen.tolist())
