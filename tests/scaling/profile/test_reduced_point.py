"""Which points are profiled, and how they are made small."""

from __future__ import annotations

import pytest
from profiled import point_of, points

from scaling.profile.reduced_point import SAMPLES, points_to_profile, reduced, synthetic_batch


def test_points_whose_steps_are_alike_are_profiled_once() -> None:
    chosen = points_to_profile(points(), None)
    kinds = [(point.science.objective, point.science.image_tower) for point in chosen]
    assert len(points()) == 18
    assert len(kinds) == len(set(kinds)) == 6


def test_an_unknown_point_is_refused_with_the_ids_that_there_are() -> None:
    with pytest.raises(ValueError, match=rf"--point nothing: .*{points()[0].run_id}"):
        points_to_profile(points(), "nothing")


def test_a_point_asked_for_is_the_only_one() -> None:
    last = points()[-1]
    assert points_to_profile(points(), last.run_id) == [last]


def test_both_objectives_are_profiled_at_the_same_micro_batch_and_what_was_changed_is_said() -> None:
    small = [reduced(point_of(objective), "cpu") for objective in ("superclass", "clip")]
    assert {each.point.placement.micro_batch for each in small} == {SAMPLES["cpu"]}
    for each in small:
        assert each.point.science.global_batch == each.point.placement.micro_batch
        assert "global_batch is 8 samples instead of 64" in each.changes[0]


def test_a_written_micro_batch_below_the_limit_is_kept() -> None:
    point = point_of("superclass")
    asked = point.model_copy(update={"placement": point.placement.model_copy(update={"micro_batch": 4})})
    small = reduced(asked, "cpu")
    assert small.point.placement.micro_batch == 4
    assert len(small.changes) == 1


@pytest.mark.parametrize("objective", ["superclass", "clip"])
def test_a_synthetic_batch_is_the_same_every_time(objective: str) -> None:
    science = reduced(point_of(objective), "cpu").point.science
    first, second = synthetic_batch(science), synthetic_batch(science)
    assert first.images_BCHW.equal(second.images_BCHW)
    assert first.images_BCHW.shape == (8, 3, 32, 32)
    assert first.targets.valid_B.all()
