"""What a run's own figures warn of, and what they do not."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from sft.training.alerts import Watch


def kinds(watch: Watch, steps: Iterable[tuple[float, float, float]]) -> list[str]:
    return [alert.kind for step in steps for alert in watch.step(*step)]


def healthy(steps: int, seed: int = 0) -> Iterable[tuple[float, float, float]]:
    """Loss, gradient norm and tokens a second of a run that learns, as noisy as small batches are."""
    chance = random.Random(seed)
    for step in range(steps):
        loss = (1.0 + 2.0 * math.exp(-step / 60)) * chance.uniform(0.8, 1.2)
        yield loss, chance.uniform(0.5, 2.0), chance.uniform(90, 110)


def test_a_run_that_learns_warns_of_nothing() -> None:
    for seed in range(20):
        assert kinds(Watch(), healthy(150, seed)) == []


def test_a_gradient_far_above_its_usual_size_is_told_once_while_it_lasts() -> None:
    watch = Watch()
    assert kinds(watch, healthy(60)) == []
    assert kinds(watch, [(1.5, 40.0, 100.0)] * 3) == ["gradient"]


def test_a_loss_that_climbs_is_told_with_where_it_was() -> None:
    watch = Watch()
    kinds(watch, [(1.0, 1.0, 100.0)] * 60)
    told = [alert for step in range(100) for alert in watch.step(1.0 + step / 50, 1.0, 100.0)]
    assert [alert.kind for alert in told] == ["rising"]
    assert "was 1.000 at its best" in told[0].words and "learning_rate" in told[0].words


def test_a_loss_near_nothing_may_double() -> None:
    watch = Watch()
    kinds(watch, [(0.001, 1.0, 100.0)] * 60)
    assert kinds(watch, [(0.003, 1.0, 100.0)] * 60) == []


def test_a_loss_that_stays_is_a_plateau() -> None:
    assert kinds(Watch(), [(2.0, 1.0, 100.0)] * 260) == ["plateau"]


def test_a_machine_that_slows_down_is_told_and_a_single_slow_step_is_not() -> None:
    watch = Watch()
    kinds(watch, healthy(100))
    assert kinds(watch, [(1.5, 1.0, 10.0)]) == []
    assert kinds(watch, [(1.5, 1.0, 40.0)] * 12) == ["slow"]


def test_learning_by_heart_is_told_when_the_evaluation_rises_twice_while_the_training_falls() -> None:
    watch = Watch()
    told = []
    for loss, evaluation in ((2.0, 2.1), (1.5, 1.8), (1.0, 1.9), (0.5, 2.0)):
        kinds(watch, [(loss, 1.0, 100.0)] * 10)
        told.append([alert.kind for alert in watch.evaluation(evaluation)])
    assert told == [[], [], [], ["overfitting"]]


def test_an_evaluation_that_rises_with_the_training_loss_is_another_matter() -> None:
    watch = Watch()
    for loss in (1.0, 1.1, 1.2, 1.3):
        kinds(watch, [(loss, 1.0, 100.0)] * 10)
        assert watch.evaluation(loss + 0.1) == []


def test_no_number_is_told_and_exactly_nothing_besides_is_explained() -> None:
    watch = Watch()
    (alert,) = watch.step(math.nan, math.nan, 100.0)
    assert alert.kind == "nonfinite" and "no finite number" in alert.words
    (alert,) = Watch().step(0.0, math.nan, 100.0)
    assert "exactly 0" in alert.words


def test_the_search_for_float16s_scale_is_no_alarm_until_it_finds_none() -> None:
    watch = Watch(scaled=True)
    assert kinds(watch, [(2.0, math.inf, 100.0)] * 4) == []
    assert kinds(watch, [(2.0, math.inf, 100.0)]) == ["nonfinite"]
    assert watch.unusable == 5
    kinds(watch, [(2.0, 1.0, 100.0)])
    assert watch.unusable == 0


def test_a_disk_with_room_for_less_than_two_checkpoints_is_told() -> None:
    watch = Watch()
    assert watch.room(free=2_000, checkpoint=1_000) == []
    assert [alert.kind for alert in watch.room(free=1_999, checkpoint=1_000)] == ["disk"]


def test_what_was_over_for_a_while_is_told_again() -> None:
    watch = Watch()
    assert kinds(watch, healthy(60)) == []
    assert kinds(watch, [(1.5, 40.0, 100.0)]) == ["gradient"]
    assert kinds(watch, [(1.5, 1.0, 100.0)] * 60) == []
    assert kinds(watch, [(1.5, 40.0, 100.0)]) == ["gradient"]


@given(st.lists(st.tuples(*[st.floats(width=64)] * 3), max_size=80))
def test_whatever_the_figures_are_it_only_compares_them(steps: list[tuple[float, float, float]]) -> None:
    watch = Watch()
    kinds(watch, [(1.0, 1.0, 1.0)] * 40)
    for step in steps:
        watch.step(*step)
        watch.evaluation(step[0])
