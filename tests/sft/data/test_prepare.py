"""Prepared sets: what becomes of rows, the same bytes however they were made, and what is counted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from tokenizers import Tokenizer

from sft.data import filling, prepare
from sft.data.building import TooManyBadRowsError
from sft.data.masking import Encoder
from sft.data.prepare import Selection
from sft.data.shards import META, Prepared
from sft.data.sources import Source
from sft.data.tokenizer import ChatTokenizer
from sft.errors import SftError
from tests.sft.data.chat_formats import chat_of, conversation
from tests.sft.data.rows import write_lines

CHAT = chat_of("smollm2")
SHORT = 512  # tokens; longer than any row of `asked`


def asked(number: int, words: int = 3) -> dict[str, object]:
    """A row as OpenAI writes it."""
    answer = " ".join(f"{number}-{word}" for word in range(words))
    return {"messages": [{"role": "user", "content": f"Question {number}?"}, {"role": "assistant", "content": answer}]}


def turns(number: int, count: int, words: int) -> dict[str, object]:
    messages = []
    for turn in range(count):
        messages += [
            {"role": "user", "content": f"Q{number}.{turn}"},
            {"role": "assistant", "content": " ".join(["word"] * words)},
        ]
    return {"messages": messages}


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., Source]:
    def write(rows: Sequence[object], name: str = "rows.jsonl", **options: float) -> Source:
        return Source(str(write_lines(tmp_path / name, rows)), **options)  # type: ignore[arg-type]

    return write


def make(
    tmp_path: Path,
    *sources: Source,
    chat: ChatTokenizer = CHAT,
    bad_share: float = 0.01,
    workers: int = 1,
    progress: prepare.Progress | None = None,
    **options: object,
) -> Prepared:
    options = {"max_length": SHORT, **options}
    selection = Selection(sources=sources, **options)  # type: ignore[arg-type]
    return prepare.prepare(selection, chat, tmp_path / "data", bad_share=bad_share, workers=workers, progress=progress)


def text_of(prepared: Prepared, index: int) -> str:
    ids, _ = prepared.document(index)
    return Tokenizer.from_str(CHAT.tokenizer_json).decode(ids.tolist(), skip_special_tokens=False)


def test_documents_are_the_rows_in_their_order(tmp_path: Path, rows: Callable[..., Source]) -> None:
    made = make(tmp_path, rows([asked(number) for number in range(700)]), workers=2)
    encoder = Encoder(CHAT)
    assert len(made) == made.meta.documents == made.meta.rows == 700
    for number in (0, 1, 255, 256, 511, 699):
        row = conversation(("user", f"Question {number}?"), ("assistant", f"{number}-0 {number}-1 {number}-2"))
        expected = encoder.encode(row)
        ids, trained = made.document(number)
        assert ids.dtype == np.uint16
        assert trained.dtype == np.bool_
        assert ids.tolist() == expected.ids.tolist()
        assert trained.tolist() == expected.trained.tolist()
        assert made.lengths[number] == len(expected.ids)
        assert made.trained_counts[number] == expected.trained.sum()
    assert made.lengths.dtype == made.trained_counts.dtype == np.int32
    assert made.meta.tokens == made.lengths.sum()
    assert made.meta.trained_tokens == made.trained_counts.sum()
    assert made.meta.lengths.fit == 700
    with pytest.raises(IndexError):
        made.document(700)
    with pytest.raises(ValueError, match="read-only"):
        made.document(0)[0][0] = 1


def test_many_shards_and_workers_hold_the_same_documents(
    tmp_path: Path, rows: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = rows([asked(number, 1 + number % 20) for number in range(600)])
    one = make(tmp_path / "one", source)
    monkeypatch.setattr(filling, "SHARD_TOKENS", 2000)
    monkeypatch.setattr(filling, "BATCH_ROWS", 16)
    many = make(tmp_path / "many", source, workers=3)
    assert len(many.meta.shards) > 3
    assert one.lengths.tolist() == many.lengths.tolist()
    for number in range(len(one)):
        assert one.document(number)[0].tolist() == many.document(number)[0].tolist()
        assert one.document(number)[1].tolist() == many.document(number)[1].tolist()


def test_a_set_is_made_once_and_anew_when_anything_changed(tmp_path: Path, rows: Callable[..., Source]) -> None:
    source = rows([asked(1), asked(2)])
    made = make(tmp_path, source)
    stamp = (made.path / META).stat().st_mtime_ns
    assert (make(tmp_path, source).path / META).stat().st_mtime_ns == stamp
    others = [
        make(tmp_path, source, max_length=100).path,
        make(tmp_path, source, too_long="drop").path,
        make(tmp_path, source, deduplicate=False).path,
        make(tmp_path, source, held_out=0.5).path,
        make(tmp_path, source, seed=1).path,
        make(tmp_path, replace(source, weight=2)).path,
        make(tmp_path, replace(source, cap=1)).path,
        make(tmp_path, source, chat=replace(CHAT, template=CHAT.template + " ")).path,
        make(tmp_path, rows([asked(1), asked(3)])).path,
    ]
    assert len({made.path, *others}) == 10


def test_bad_rows_are_counted_with_their_places_and_refuse_over_the_share(
    tmp_path: Path, rows: Callable[..., Source]
) -> None:
    bad = [b"{not json", {"messages": [{"role": "user", "content": "no answer"}]}]
    source = rows([*(asked(number) for number in range(98)), *bad])
    with pytest.raises(TooManyBadRowsError, match=r"2 of 100 rows") as refused:
        make(tmp_path, source)
    places = [place for tally in refused.value.problems.bad.values() for place in tally.places]
    assert sorted(place.line for place in places) == [99, 100]
    with pytest.raises(TooManyBadRowsError) as again:  # found done, and refused again
        make(tmp_path, source)
    assert list(again.value.problems.words()) == list(refused.value.problems.words())
    made = make(tmp_path, source, bad_share=0.02)
    assert (made.meta.bad_rows, made.meta.documents) == (2, 98)


def test_rows_that_the_template_refuses_are_bad_rows(tmp_path: Path, rows: Callable[..., Source]) -> None:
    template = "{% if 'Question 1?' in messages[0].content %}{{ raise_exception('no ones') }}{% endif %}"
    chat = replace(CHAT, template=template + CHAT.template)
    made = make(tmp_path, rows([asked(0), asked(1)]), chat=chat, bad_share=0.5)
    (reason,) = made.meta.bad
    assert (reason.reason, reason.rows) == ("refused by the chat template", 1)
    assert (reason.places[0].line, reason.places[0].detail) == (2, "no ones")


def test_hopeless_rows_are_refused_before_all_are_read(
    tmp_path: Path, rows: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "HOPELESS_ROWS", 50)
    monkeypatch.setattr(filling, "BATCH_ROWS", 16)
    with pytest.raises(TooManyBadRowsError) as refused:
        make(tmp_path, rows([asked(0), *[{"messages": "none"}] * 500]))
    assert refused.value.problems.rows < 100


def test_repeated_rows_are_left_out_across_batches_and_sources(
    tmp_path: Path, rows: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "BATCH_ROWS", 4)
    first = rows([asked(number % 7) for number in range(20)])
    second = rows([asked(3), asked(8)], "second.jsonl")
    made = make(tmp_path, first, second)
    assert (made.meta.documents, made.meta.duplicates) == (8, 14)
    assert make(tmp_path, first, second, deduplicate=False).meta.documents == 22


def test_weights_repeat_rows_and_thin_them_out_and_a_cap_ends_a_source(
    tmp_path: Path, rows: Callable[..., Source]
) -> None:
    some = [asked(number) for number in range(200)]
    twice = make(tmp_path, rows(some, weight=2.5))
    assert 400 < len(twice) < 600
    assert text_of(twice, 0) == text_of(twice, 1)
    assert 20 < len(make(tmp_path, rows(some, weight=0.25))) < 80
    capped = make(tmp_path, rows(some, cap=10), rows([asked(999)], "second.jsonl"))
    assert len(capped) == 11
    assert "Question 999?" in text_of(capped, 10)


def test_long_conversations_are_cut_at_a_turns_end(tmp_path: Path, rows: Callable[..., Source]) -> None:
    source = rows([turns(0, 6, 10), turns(1, 1, 300), turns(2, 1, 10)])
    made = make(tmp_path, source, max_length=200)
    assert (made.meta.cut, made.meta.dropped, made.meta.documents) == (2, 0, 3)
    whole = text_of(made, 0)
    assert whole.endswith("word<|im_end|>")
    assert 100 < made.lengths[0] <= 200
    assert made.lengths[1] == 200  # not even its one turn fits
    assert not text_of(made, 1).endswith("<|im_end|>")
    assert made.meta.lengths.fit == 1
    dropped = make(tmp_path, source, max_length=200, too_long="drop")
    assert (dropped.meta.documents, dropped.meta.dropped) == (1, 2)
    assert dropped.meta.lengths.documents == 3


def test_a_long_conversation_whose_last_answer_alone_is_trained_loses_its_oldest_turns(
    tmp_path: Path, rows: Callable[..., Source]
) -> None:
    messages: list[dict[str, object]] = [{"role": "system", "content": "Be brief."}]
    for number in range(8):
        messages.append({"role": "user", "content": f"Question {number}?"})
        messages.append(
            {"role": "assistant", "content": f"Answer {number}." + " word" * 10, "weight": int(number == 7)}
        )
    made = make(tmp_path, rows([{"messages": messages}]), max_length=220)
    text = text_of(made, 0)
    assert (made.meta.cut, made.meta.dropped) == (1, 0)
    assert "Be brief." in text and "Question 0?" not in text and "Question 6?" in text
    assert text.endswith("word<|im_end|>") and "Answer 7." in text
    assert made.trained_counts[0] > 10


def test_a_question_that_fills_the_length_leaves_nothing_to_train(tmp_path: Path, rows: Callable[..., Source]) -> None:
    long_question = {"messages": [{"role": "user", "content": "why " * 200}, {"role": "assistant", "content": "So."}]}
    made = make(tmp_path, rows([long_question, asked(1)]), max_length=100)
    assert (made.meta.documents, made.meta.dropped) == (1, 1)


def test_long_texts_are_split(tmp_path: Path, rows: Callable[..., Source]) -> None:
    text = " ".join(f"word{number}" for number in range(100))
    made = make(tmp_path, rows([{"text": text}]), max_length=64)
    assert made.meta.split == 1
    assert made.lengths.tolist()[:-1] == [64] * (len(made) - 1)
    assert "".join(text_of(made, number) for number in range(len(made))) == f"{text}<|endoftext|>"
    assert made.trained_counts.sum() == made.lengths.sum()


def test_a_share_is_held_out_or_a_source_of_its_own(tmp_path: Path, rows: Callable[..., Source]) -> None:
    source = rows([asked(number) for number in range(50)])
    assert make(tmp_path, source, held_out=0.1).held_out.sum() == 5
    assert not make(tmp_path, source).held_out.any()
    own = rows([asked(3), asked(70), asked(71)], "own.jsonl")  # the first one is in the training rows
    made = make(tmp_path, source, evaluation=own, held_out=0.1)
    assert made.held_out.tolist() == [False] * 50 + [True] * 2
    assert made.meta.held_out == 2


def test_progress_is_told_up_to_the_end(
    tmp_path: Path, rows: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "_REPORT_EVERY_S", 0.0)
    source = rows([asked(number, 20) for number in range(1000)])
    told: list[tuple[int, ...]] = []
    made = make(tmp_path, source, progress=lambda *numbers: told.append(numbers))
    size = Path(source.path).stat().st_size
    assert all(total == size for _, _, total, _, _ in told)
    assert told[-1] == (1000, size, size, 1000, made.meta.tokens)
    encoding = [each for each in told if each[0]]
    assert [each[0] for each in encoding] == sorted(each[0] for each in encoding)


def test_no_rows_are_no_set(tmp_path: Path, rows: Callable[..., Source]) -> None:
    with pytest.raises(SftError, match="no row to train on"):
        make(tmp_path, rows([turns(0, 1, 500)]), too_long="drop", max_length=100)
    with pytest.raises(SftError, match="no source"):
        make(tmp_path)


def test_a_file_that_changes_meanwhile_is_noticed(
    tmp_path: Path, rows: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "_REPORT_EVERY_S", 0.0)
    source = rows([asked(number) for number in range(1000)])

    def grow(*numbers: int) -> None:
        if numbers[0]:
            with Path(source.path).open("a") as file:
                file.write("\n")

    with pytest.raises(SftError, match="was changed while it was read"):
        make(tmp_path, source, progress=grow)
    assert make(tmp_path, source).meta.rows == 1000


def test_a_killed_worker_ends_the_work_with_the_place(
    tmp_path: Path, rows: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "_REPORT_EVERY_S", 0.0)
    source = rows([asked(number) for number in range(3000)])
    before = set(psutil.Process().children())

    def kill(*numbers: int) -> None:
        if numbers[0]:
            for child in set(psutil.Process().children()) - before:
                child.kill()

    with pytest.raises(SftError, match=r"died \(signal 9\).*rows\.jsonl, line") as failed:
        make(tmp_path, source, progress=kill)
    assert "kept" in failed.value.hint
    assert set(psutil.Process().children()) <= before
    assert len(make(tmp_path, source)) == 3000


def test_a_template_that_does_not_end_names_the_row(tmp_path: Path, rows: Callable[..., Source]) -> None:
    forever = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    template = "{% if 'Question 3?' in messages[0].content %}" + forever + "{% endif %}" + CHAT.template
    with pytest.raises(SftError, match=r"ran over 5 s.*rows\.jsonl, line 4\."):
        make(tmp_path, rows([asked(number) for number in range(9)]), chat=replace(CHAT, template=template))


def test_a_template_that_is_none_is_refused(tmp_path: Path, rows: Callable[..., Source]) -> None:
    with pytest.raises(SftError, match="template is broken: line 1"):
        make(tmp_path, rows([asked(1)]), chat=replace(CHAT, template="{% if %}"))


def test_too_little_space_is_said_before_anything_is_done(
    tmp_path: Path, rows: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(SftError, match="MiB are free"):
        make(tmp_path, rows([asked(1)]))


def test_a_set_that_was_cut_off_is_refused(tmp_path: Path, rows: Callable[..., Source]) -> None:
    """Reading behind the end of a mapped file would end the process."""
    made = make(tmp_path, rows([asked(number) for number in range(20)]))
    tokens = made.path / "shard-00000.tokens"
    tokens.write_bytes(tokens.read_bytes()[:-2])
    with pytest.raises(SftError, match="another size"):
        Prepared.open(made.path)
    with pytest.raises(SftError, match="no whole prepared set"):
        Prepared.open(tmp_path)


def test_hashes_of_files_are_kept_until_a_file_changes(
    tmp_path: Path, rows: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = rows([asked(1)])
    make(tmp_path, source)
    cache = tmp_path / "data" / "prepared" / "files.json"
    known = json.loads(cache.read_text())
    assert list(known) == [source.path]
    known[source.path][2] = "0" * 64
    cache.write_text(json.dumps(known))
    other = make(tmp_path, source)  # what is known is believed
    rows([asked(2)])
    assert make(tmp_path, source).path != other.path
    assert json.loads(cache.read_text())[source.path][2] != "0" * 64
