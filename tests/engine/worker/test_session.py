"""Dialogues with real, tiny models of every family, through the same calls as the app's."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine import protocol
from engine.errors import EngineError, QuestionTooLongError
from engine.protocol import Sampling
from engine.worker.generation import Reader
from engine.worker.session import Session
from tests.engine.tiny_models import CHATML, FAMILIES, Family
from tests.engine.worker.conftest import TURNS
from tests.engine.worker.conversing import GREEDY, ask, load

Taught = Callable[[Family, str | None], Path]
(QUESTION, ANSWER), (QUESTION2, ANSWER2) = TURNS
CREATIVE = Sampling(temperature=1.5, seed=11, max_new_tokens=30)


@pytest.fixture(scope="module")
def gpt2(taught: Taught) -> Iterator[Session]:
    session = load(taught("gpt2", None))
    yield session
    session.close()


@pytest.fixture(scope="module")
def babbler(random_checkpoints: dict[Family, Path]) -> Iterator[Session]:
    """Random weights: it talks until it is stopped."""
    session = load(random_checkpoints["qwen2"])
    yield session
    session.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_two_turn_dialogue_without_a_template(taught: Taught, family: Family) -> None:
    """HugChat's own releases ship no template; the reply stands between spaces and ends at a blank line."""
    session = load(taught(family, None))
    first = ask(session, QUESTION)
    assert (first.text, first.finished.reason) == (ANSWER, "done")
    second = ask(session, QUESTION, first.text, QUESTION2)
    assert (second.text, second.finished.reason) == (ANSWER2, "done")
    assert second.started.cached_tokens >= first.started.prompt_tokens
    assert session.info.template == "hugchat"
    session.close()


@pytest.mark.parametrize("family", ["llama", "qwen3", "glm"])
def test_a_two_turn_dialogue_with_the_checkpoints_template(taught: Taught, family: Family) -> None:
    session = load(taught(family, CHATML))
    first = ask(session, QUESTION)
    assert (first.text, first.finished.reason) == (ANSWER, "done")
    second = ask(session, QUESTION, first.text, QUESTION2)
    assert (second.text, second.finished.reason) == (ANSWER2, "done")
    assert second.started.cached_tokens >= first.started.prompt_tokens + first.finished.new_tokens - 1
    assert session.info.template == "checkpoint"
    session.close()


def test_greedy_equals_transformers_generate(random_checkpoints: dict[Family, Path]) -> None:
    families: tuple[Family, ...] = ("gpt2", "opt", "gpt_neo", "llama")
    for family in families:
        path = random_checkpoints[family]
        session = load(path)
        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(path)
        inputs = tokenizer("[Human]: Hi \n [HugChat]:", return_tensors="pt")
        expected = model.generate(inputs["input_ids"], max_new_tokens=12, do_sample=False)
        reply = ask(session, "Hi", sampling=Sampling(temperature=0, max_new_tokens=12))
        count = len(reply.token_ids)
        assert count == 12 or reply.finished.reason == "done"
        assert reply.token_ids == expected[0, inputs["input_ids"].shape[1] :].tolist()[:count], family
        session.close()


def test_events_come_in_order_and_add_up(babbler: Session) -> None:
    reply = ask(babbler, "word " * 90, sampling=Sampling(temperature=1.5, seed=1, max_new_tokens=20))
    kinds = [type(event).__name__ for event in reply.events]
    assert kinds == sorted(kinds, key=["Started", "Prefilling", "Piece", "Finished"].index)
    done = [event.done for event in reply.of(protocol.Prefilling)]
    assert done == sorted(done)
    assert done[-1] == reply.started.prompt_tokens == reply.finished.prompt_tokens
    assert len(reply.token_ids) == reply.finished.new_tokens
    timings = reply.finished.timings
    assert 0 < timings.prefill_s <= timings.first_token_s
    assert timings.tokens_per_second == pytest.approx((reply.finished.new_tokens - 1) / timings.decode_s)


def test_the_same_seed_writes_the_same_text_and_another_seed_another(babbler: Session) -> None:
    texts = [ask(babbler, "Hi", sampling=CREATIVE, conversation=name).text for name in ("a", "b")]
    again = ask(babbler, "Hi", sampling=CREATIVE, conversation="a").text  # from the cache this time
    other = ask(babbler, "Hi", sampling=Sampling(temperature=1.5, seed=12, max_new_tokens=30)).text
    assert texts == [again, again]
    assert other != again


def test_the_same_seed_writes_the_same_text_in_bfloat16_from_the_cache_too(
    random_checkpoints: dict[Family, Path],
) -> None:
    """Read with other chunk borders, a prompt's logits round otherwise in 16 bits, and the texts part."""
    session = load(random_checkpoints["llama"], dtype="bfloat16")
    sampling = Sampling(temperature=1.5, seed=3, max_new_tokens=60)
    question = "A longer question, so that something can round. " * 6
    fresh = ask(session, question, sampling=sampling)
    cached = ask(session, question, sampling=sampling)
    assert cached.started.cached_tokens == cached.started.prompt_tokens
    assert cached.token_ids == fresh.token_ids
    session.close()


def test_the_seed_that_was_drawn_is_reported(babbler: Session) -> None:
    first = ask(babbler, "Hi", sampling=Sampling(temperature=1.5, max_new_tokens=20))
    sampling = Sampling(temperature=1.5, max_new_tokens=20, seed=first.started.seed)
    assert ask(babbler, "Hi", sampling=sampling).text == first.text


def test_a_stop_string_ends_the_reply_and_is_not_shown(gpt2: Session) -> None:
    reply = ask(gpt2, QUESTION, sampling=Sampling(temperature=0, stop=("Par",)))
    assert (reply.text, reply.finished.reason) == ("The capital is", "done")


def test_max_new_tokens_ends_the_reply_and_continuing_completes_it(gpt2: Session) -> None:
    part = ask(gpt2, QUESTION, sampling=Sampling(temperature=0, max_new_tokens=6))
    assert (part.finished.reason, part.finished.new_tokens) == ("length", 6)
    assert ANSWER.startswith(part.text)
    rest = ask(gpt2, QUESTION, part.text)
    assert part.text + rest.text == ANSWER


def test_no_piece_ends_inside_a_character(gpt2: Session) -> None:
    pieces = ask(gpt2, QUESTION).of(protocol.Piece)
    assert all("\ufffd" not in piece.text for piece in pieces)
    assert any("🦊" in piece.text and len(piece.token_ids) > 1 for piece in pieces)


def test_a_full_context_ends_the_reply(babbler: Session) -> None:
    reply = ask(babbler, "word " * 195, sampling=Sampling(temperature=0, max_new_tokens=500))
    assert reply.finished.reason == "length"
    assert reply.finished.new_tokens > 0
    assert reply.finished.prompt_tokens + reply.finished.new_tokens == babbler.info.context_length


def test_what_did_not_fit_is_named(gpt2: Session) -> None:
    history = ["Tell me more, please.", "There is nothing more to tell about it."] * 12
    reply = ask(gpt2, *history, "Really?", system="Be kind.", sampling=Sampling(temperature=0, max_new_tokens=5))
    omitted = reply.started.omitted
    assert omitted == tuple(range(1, len(omitted) + 1))
    assert len(omitted) % 2 == 0
    assert 0 < len(omitted) < len(history)


def test_a_question_too_long_is_an_error_and_the_next_one_is_answered(gpt2: Session) -> None:
    with pytest.raises(QuestionTooLongError):
        ask(gpt2, "word " * 2000)
    assert ask(gpt2, QUESTION).text == ANSWER


def test_a_cancel_while_the_prompt_is_read_stops_within_the_chunk(babbler: Session) -> None:
    """A cancel that waits for a chunk, or for the prompt, waits for seconds on a large model."""
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 30

    question = "word " * 150
    reply = ask(babbler, question, cancelled=cancelled, conversation="cancelled")
    assert reply.finished.reason == "stopped"
    assert reply.finished.new_tokens == 0
    assert asked == 31  # none of the modules after it ran
    read = max((event.done for event in reply.of(protocol.Prefilling)), default=0)

    again = ask(babbler, question, conversation="cancelled")
    assert again.started.cached_tokens == read < again.started.prompt_tokens
    assert again.text == ask(babbler, question, conversation="fresh").text


def test_a_cancel_while_the_reply_is_written_keeps_the_partial(babbler: Session) -> None:
    pieces = 0

    def count(event: protocol.GenerationEvent) -> None:
        nonlocal pieces
        pieces += isinstance(event, protocol.Piece)

    long = Sampling(temperature=1.5, seed=2, max_new_tokens=200)
    reply = ask(babbler, "Hi", sampling=long, cancelled=lambda: pieces >= 1, on_event=count)
    assert reply.finished.reason == "stopped"
    assert 0 < reply.finished.new_tokens < 200
    assert len(reply.token_ids) == reply.finished.new_tokens


def test_the_first_piece_comes_at_once_and_the_others_no_oftener_than_eyes_want(
    babbler: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = Sampling(temperature=1.5, seed=2, max_new_tokens=40)
    monkeypatch.setattr("engine.worker.reply._PIECE_INTERVAL_S", 0.0)
    each = ask(babbler, "Hi", sampling=sampling, conversation="each")
    monkeypatch.setattr("engine.worker.reply._PIECE_INTERVAL_S", math.inf)
    held = ask(babbler, "Hi", sampling=sampling, conversation="held")
    assert len(each.of(protocol.Piece)) > 10
    assert len(held.of(protocol.Piece)) == 2
    assert (held.text, held.token_ids) == (each.text, each.token_ids)


def test_what_was_written_is_not_lost_with_what_went_wrong(babbler: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.worker.reply._PIECE_INTERVAL_S", math.inf)
    step, steps = Reader.step, 0

    def fail(reader: Reader, *arguments: Any) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 6:
            raise MemoryError
        return step(reader, *arguments)

    monkeypatch.setattr(Reader, "step", fail)
    seen: list[int] = []
    with pytest.raises(MemoryError):
        ask(
            babbler,
            "Hi",
            sampling=Sampling(temperature=1.5, seed=2, max_new_tokens=40),
            on_event=lambda event: seen.extend(event.token_ids) if isinstance(event, protocol.Piece) else None,
        )
    assert len(seen) == 6


def test_a_request_cancelled_before_it_began_reads_nothing(babbler: Session) -> None:
    reply = ask(babbler, "Hi", cancelled=lambda: True, conversation="never")
    assert reply.finished.reason == "stopped"
    assert reply.finished.new_tokens == 0
    assert not reply.of(protocol.Prefilling)


def test_a_slow_model_can_be_stopped_within_a_token(babbler: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.worker.generation._WATCHED_STEP_S", 0.0)
    asked: list[float] = []
    reading = True

    def note(event: protocol.GenerationEvent) -> None:
        nonlocal reading
        reading = reading and not isinstance(event, protocol.Piece)

    def cancelled() -> bool:
        if not reading:
            asked.append(time.perf_counter())
        return len(asked) > 40

    sampling = Sampling(temperature=1.5, seed=2, max_new_tokens=200)
    reply = ask(babbler, "Hi", sampling=sampling, cancelled=cancelled, on_event=note, conversation="slow")
    assert reply.finished.reason == "stopped"
    assert reply.finished.new_tokens < 10
    whole = ask(babbler, "Hi", sampling=sampling, conversation="slow")
    assert whole.token_ids[: len(reply.token_ids)] == reply.token_ids


def test_a_token_the_model_does_not_have_is_an_error_in_words(taught: Taught, tmp_path: Path) -> None:
    path = tmp_path / "grown"
    tokenizer = AutoTokenizer.from_pretrained(taught("gpt2", None))
    tokenizer.add_tokens(["Zanzibar"])
    AutoModelForCausalLM.from_pretrained(taught("gpt2", None)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    session = load(path)
    with pytest.raises(EngineError, match="tokenizer"):
        ask(session, "Zanzibar")
    assert ask(session, QUESTION).text == ANSWER
    session.close()


def test_the_model_is_described(gpt2: Session, taught: Taught) -> None:
    info = gpt2.info
    assert info.path == str(taught("gpt2", None))
    assert (info.family, info.device, info.dtype, info.context_length) == ("gpt2", "cpu", "float32", 256)
    assert info.kv_bytes_per_token == 2 * 2 * 64 * 4  # keys and values, layers, width, bytes
    assert info.weight_bytes == info.parameters * 4
    assert any("HugChat" in note for note in info.notes)
    assert GREEDY.temperature == 0
