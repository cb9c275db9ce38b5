"""Every setting explains itself."""

from __future__ import annotations

from hugchat_tui.settings.describing import describe_settings
from hugchat_tui.settings.loading import check_value


def test_every_setting_has_a_text_a_kind_and_a_default_of_that_kind() -> None:
    described = describe_settings()
    assert len({each.environment for each in described}) == len(described) > 15
    for each in described:
        assert each.text.endswith("."), each
        assert each.words
        assert check_value(each.section, each.key, each.default) == each.default


def test_a_description_has_what_a_person_needs() -> None:
    (top_k,) = (each for each in describe_settings() if each.key == "top_k")
    assert (top_k.section, top_k.words, top_k.default, top_k.environment) == (
        ("sampling", "a whole number from 0 to 1000000", 0, "HUGCHAT_SAMPLING_TOP_K")
    )
    assert top_k.text == "Choose among this many likeliest tokens only; 0 is off."
