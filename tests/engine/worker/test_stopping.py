"""Stop strings end a reply wherever the tokens cut them, and are never shown, not even in part."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.worker.stopping import StopStrings

STOPS = ("\n\n", "[Human]:")
_texts = st.text(alphabet="a[Human]: \n", max_size=40)


def stream(stops: StopStrings, pieces: Sequence[str]) -> list[str]:
    out = []
    for piece in pieces:
        out.append(stops.feed(piece))
        if stops.stopped:
            return out
    return [*out, stops.finish()]


def cut(text: str, stops: Sequence[str]) -> str:
    return text[: min([at for stop in stops if (at := text.find(stop)) >= 0], default=len(text))]


@given(st.lists(_texts, max_size=12))
def test_the_text_up_to_the_first_stop_however_it_is_cut(pieces: list[str]) -> None:
    assert "".join(stream(StopStrings(STOPS), pieces)) == cut("".join(pieces), STOPS)


@given(st.lists(_texts, max_size=12))
def test_hugchats_reply_is_the_stripped_text_up_to_the_first_stop(pieces: list[str]) -> None:
    stops = StopStrings(STOPS, strip_start=True, strip_end=True)
    assert "".join(stream(stops, pieces)) == cut("".join(pieces), STOPS).strip()


def test_text_is_passed_on_as_soon_as_no_stop_can_begin_in_it() -> None:
    stops = StopStrings(("STOP",))
    assert [stops.feed(piece) for piece in ("a", "bST", "O", "x", "S")] == ["a", "b", "", "STOx", ""]
    assert not stops.stopped


@pytest.mark.parametrize("pieces", [["one", "\n", "\n", "two"], ["one\n\ntwo"], list("one\n\ntwo")])
def test_a_stop_across_token_borders_is_not_shown(pieces: list[str]) -> None:
    stops = StopStrings(STOPS)
    assert "".join(stream(stops, pieces)) == "one"
    assert stops.stopped


def test_an_empty_stop_string_stops_nothing() -> None:
    assert stream(StopStrings(("",)), ["a"]) == ["a", ""]
