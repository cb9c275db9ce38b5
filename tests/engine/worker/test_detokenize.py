"""A reply's pieces join to what the tokenizer decodes, and none ends inside a character."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from engine.worker.detokenize import Detokenizer
from tests.engine.tiny_models import byte_level_tokenizer, sentencepiece_like_tokenizer

TOKENIZERS = {
    "byte-level": byte_level_tokenizer("gpt2"),
    "metaspace-first": sentencepiece_like_tokenizer("first"),
    "metaspace-always": sentencepiece_like_tokenizer("always"),
}
_texts = st.text(
    alphabet=st.one_of(
        st.sampled_from(" \n.aeé小明家苹果😀👍🏽\u200d👨👩👧ｆ①"),
        st.characters(codec="utf-8", exclude_characters="\ufffd▁"),
    ),
    max_size=40,
)


def pieces_of(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.push(token_id) for token_id in ids), detokenizer.finish()]


def decoded(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None, max_examples=150)
@given(text=_texts)
def test_pieces_join_to_the_decoded_text_and_split_no_character(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = pieces_of(tokenizer, ids)
    assert "".join(pieces) == decoded(tokenizer, ids)
    assert "\ufffd" not in "".join(pieces)


@settings(deadline=None, max_examples=150)
@given(ids=st.lists(st.integers(0, len(TOKENIZERS["byte-level"]) - 1), max_size=60))
def test_any_tokens_at_all_join_to_the_decoded_text_but_for_an_unfinished_end(ids: list[int]) -> None:
    """A random model emits bytes that are no characters; nothing of them may be lost or doubled."""
    tokenizer = TOKENIZERS["byte-level"]
    assert "".join(pieces_of(tokenizer, ids)).rstrip("\ufffd") == decoded(tokenizer, ids).rstrip("\ufffd")


def test_a_character_comes_whole_with_its_last_token() -> None:
    tokenizer = TOKENIZERS["metaspace-first"]
    ids = tokenizer("x😀😀", add_special_tokens=False)["input_ids"]
    assert [piece for piece in pieces_of(tokenizer, ids) if piece] == ["x", "😀", "😀"]
    assert len(ids) >= 9  # four byte tokens each


def test_an_unfinished_character_at_the_end_is_not_shown() -> None:
    tokenizer = TOKENIZERS["byte-level"]
    ids = tokenizer("a𝄞", add_special_tokens=False)["input_ids"]
    assert "".join(pieces_of(tokenizer, ids[:-1])) == "a"


def test_special_tokens_are_skipped_between_words() -> None:
    tokenizer = TOKENIZERS["metaspace-first"]
    ids = tokenizer("one two", add_special_tokens=False)["input_ids"]
    ids[1:1] = [tokenizer.eos_token_id]
    assert "".join(pieces_of(tokenizer, ids)) == decoded(tokenizer, ids)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_cost_of_a_token_does_not_grow_with_the_reply(name: str) -> None:
    """Decoding the whole reply at every token made long replies slower and slower."""
    tokenizer = TOKENIZERS[name]
    lengths: list[int] = []

    class Counting:
        all_special_ids = tokenizer.all_special_ids

        def decode(
            self, token_ids: Sequence[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool
        ) -> str:
            lengths.append(len(token_ids))
            return decoded(tokenizer, token_ids)

    detokenizer = Detokenizer(Counting())
    for token_id in tokenizer("The capital 小明 😀 is Paris. " * 40, add_special_tokens=False)["input_ids"]:
        detokenizer.push(token_id)
    invalid = tokenizer("𝄞", add_special_tokens=False)["input_ids"][-1]
    for _ in range(200):
        detokenizer.push(invalid)
    assert max(lengths) < 40
