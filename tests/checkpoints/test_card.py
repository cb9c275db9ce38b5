"""The facts in a model card's front matter, however its author wrote them, and no harm from what is no card."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.checkpoints.card import CARD_LIMIT, CardFacts, card_facts, read_card


@pytest.mark.parametrize(
    ("front_matter", "facts"),
    [
        ("license: apache-2.0", CardFacts("apache-2.0")),
        ('license: "mit"  # quoted', CardFacts("mit")),
        ("license:\n- mit\n- bsd", CardFacts("mit, bsd")),
        ("license: other\nlicense_name: llama3.2\nlicense_link: LICENSE", CardFacts("llama3.2")),
        ("license: other", CardFacts("other")),
        ("base_model: org/base\nlanguage: en", CardFacts("", ("org/base",), (), ("en",))),
        ("base_model:\n  - a/b\n  - 'c/d'\nlanguage: [en, zh]", CardFacts("", ("a/b", "c/d"), (), ("en", "zh"))),
        ("datasets:\r\n- x/y\r\nlicense: mit\r", CardFacts("mit", (), ("x/y",))),
        ("model-index:\n- name: x\n  results:\n  - task: y\nlicense: mit", CardFacts("mit")),
        ("  license: nested\nextra:\n  license: too", CardFacts()),
        ("license: &a [*a, *a]\n- : : :\n\t\x00\nlicense", CardFacts("&a [*a, *a]")),
        ("", CardFacts()),
    ],
)
def test_facts_are_read_as_cards_spell_them(front_matter: str, facts: CardFacts) -> None:
    assert card_facts(front_matter) == facts


def test_the_text_comes_without_the_front_matter(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n\n# Title\n---\nrule above\n", "utf-8-sig")
    assert read_card(tmp_path) == (CardFacts("mit"), "# Title\n---\nrule above\n")
    (tmp_path / "README.md").write_text("# No front matter\n\n---\nlicense: mit\n---\n")
    assert read_card(tmp_path)[0] == CardFacts()
    (tmp_path / "README.md").write_text("---\nlicense: mit\nnever closed")
    assert read_card(tmp_path)[0] == CardFacts()


def test_what_is_no_card_is_an_empty_one(tmp_path: Path) -> None:
    assert read_card(tmp_path) == (CardFacts(), "")
    os.mkfifo(tmp_path / "README.md")
    assert read_card(tmp_path) == (CardFacts(), "")
    (tmp_path / "README.md").unlink()
    (tmp_path / "README.md").symlink_to("README.md")
    assert read_card(tmp_path) == (CardFacts(), "")


def test_a_huge_card_is_read_up_to_its_limit_and_bad_bytes_are_marked(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"\xff" + b"x" * (CARD_LIMIT * 3))
    text = read_card(tmp_path)[1]
    assert text.startswith("\ufffdx")
    assert len(text) == CARD_LIMIT


def test_lists_without_end_are_cut() -> None:
    assert len(card_facts("datasets:\n" + "- x/y\n" * 5000).datasets) <= 100
    assert len(card_facts("datasets: [" + "x/y," * 5000 + "]").datasets) <= 100
