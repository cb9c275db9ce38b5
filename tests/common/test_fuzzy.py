"""Fuzzy search over names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hugchat_tui.common.fuzzy import Candidate, rank

NAMES = [
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "Qwen/Qwen3-0.6B",
    "meta-llama/Llama-3.2-1B-Instruct",
    "wjn1996/hugnlp-hugchat-gpt2-xl",
    "bartowski/SmolLM2-1.7B-Instruct-GGUF",
]


def best(query: str) -> str:
    return NAMES[rank(query, [Candidate(name) for name in NAMES])[0][0]]


def test_a_few_letters_find_the_name_that_was_meant() -> None:
    assert best("smol135") == NAMES[0]
    assert best("qwen") == NAMES[1]
    assert best("llama 1b") == NAMES[2]
    assert best("1b llama") == NAMES[2], "words in any order"
    assert best("hcgpt") == NAMES[3], "first letters"
    assert best("SMOL gguf") == NAMES[4]


def test_an_exact_or_whole_word_match_beats_scattered_letters() -> None:
    names = ["genre-park", "gpt2", "my-gpt2-large", "g-p-t-2"]
    ranked = [names[index] for index, _ in rank("gpt2", [Candidate(name) for name in names])]
    assert ranked[0] == "gpt2"
    assert ranked[1] == "my-gpt2-large"
    assert "genre-park" not in ranked


def test_a_blank_query_matches_all_in_order() -> None:
    ranked = rank("  ", [Candidate(name) for name in NAMES])
    assert [index for index, _ in ranked] == list(range(len(NAMES)))


def test_a_repeated_letter_is_answered_at_once() -> None:
    """Textual's matcher tries all combinations: this query would not end within the life of the test."""
    candidate = Candidate("a-" * 60)
    assert candidate.match("a" * 40) is not None
    assert candidate.match("a" * 61) is None


@given(st.text(max_size=40), st.text(max_size=8))
def test_positions_spell_the_query_in_the_text(text: str, query: str) -> None:
    match = Candidate(text).match(query)
    if match is None:
        return
    assert list(match.positions) == sorted(set(match.positions))
    folded = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    found = {folded[position] for position in match.positions}
    assert found == {c.lower() if len(c.lower()) == 1 else c for c in query if not c.isspace()}


@given(st.text("abAB-/1", max_size=30), st.text("abAB1", min_size=1, max_size=4))
def test_exactly_the_subsequences_match(text: str, query: str) -> None:
    letters = iter(text.lower())
    assert (Candidate(text).match(query) is not None) == all(letter in letters for letter in query.lower())
