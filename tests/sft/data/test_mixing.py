"""Weights and caps: how often each row is taken, decided by the seed alone."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from sft.data.conversation import BadRow
from sft.data.mixing import Drawn, draw
from sft.data.sources import Source
from sft.errors import SftError
from tests.sft.data.rows import alpaca, write_lines


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(write_lines(tmp_path / "x.jsonl", map(alpaca, range(2000))))


def counts(drawn: list[Drawn]) -> Counter[int]:
    return Counter(each.times for each in drawn)


def test_a_weight_is_how_often_a_row_is_taken(path: str) -> None:
    assert counts(list(draw(Source(path), 0))) == {1: 2000}
    assert counts(list(draw(Source(path, weight=3), 0))) == {3: 2000}
    assert list(draw(Source(path, weight=0), 0)) == []
    quarter = counts(list(draw(Source(path, weight=0.25), 0)))
    assert set(quarter) == {1} and 420 < quarter[1] < 580
    both = counts(list(draw(Source(path, weight=1.5), 0)))
    assert set(both) == {1, 2} and 900 < both[1] < 1100


def test_the_seed_decides(path: str) -> None:
    source = Source(path, weight=0.5)
    one, again, other = (list(draw(source, seed)) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_sources_do_not_take_the_same_rows(path: str) -> None:
    linked = Path(path).with_name("y.jsonl")
    linked.symlink_to(path)
    one, other = ([each.number for each in draw(Source(str(name), weight=0.5), 0)] for name in (path, linked))
    assert one != other


def test_a_cap_ends_it(path: str) -> None:
    assert counts(list(draw(Source(path, cap=7), 0))) == {1: 7}
    assert counts(list(draw(Source(path, weight=2, cap=7), 0))) == {2: 3, 1: 1}


@pytest.mark.parametrize("cap", [0, 300])
def test_it_goes_on_where_it_was_interrupted(path: str, cap: int) -> None:
    source = Source(path, weight=0.75, cap=cap)
    whole = list(draw(source, 5))
    for at in (0, 1, 100, 298, 299):
        taken = sum(each.times for each in whole[: at + 1])
        assert list(draw(source, 5, skip=whole[at].number + 1, taken=taken)) == whole[at + 1 :]


def test_bad_rows_are_among_them(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", [alpaca(1), {}, alpaca(2)])
    drawn = list(draw(Source(str(path), weight=0.0001), 0))
    assert [(each.number, type(each.row)) for each in drawn] == [(1, BadRow)]


@pytest.mark.parametrize("source", [Source("x", weight=-1), Source("x", weight=math.nan), Source("x", cap=-1)])
def test_weights_that_make_no_sense(source: Source) -> None:
    with pytest.raises(SftError, match="of x is") as caught:
        list(draw(source, 0))
    assert caught.value.hint
