"""What varies across a sweep, and what must not."""

from __future__ import annotations

from typing import Any

import pytest

from scaling.confounds import refuse_confounds, what_varied
from scaling.sweep.science import Science

AXES = ("objective", "image_tower")


def points(**of_the_last: Any) -> list[Science]:
    """Both objectives on two towers; `of_the_last` changes one of the four points."""
    grid = [(objective, tower) for objective in ("superclass", "clip") for tower in ("vit_s16", "vit_b16")]
    values = [
        {"objective": objective, "image_tower": tower, "samples_seen": "512M"} for objective, tower in grid
    ]
    return [Science(**point) for point in [*values[:-1], {**values[-1], **of_the_last}]]


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "fp32"},
        {"gradient_clipping": 1.0},
        {"data_digest": "other"},
        {"crop_scale_min": 0.4},
        {"learning_rate": 1e-3},
        {"samples_seen": "128M"},
        {"tokenizer": "clip_bpe_4k"},
        {"text_tower": "text_l"},
        {"seed": 1},
    ],
)
def test_points_that_differ_in_something_not_varied_are_refused(change: dict[str, Any]) -> None:
    (field,) = change
    with pytest.raises(
        ValueError, match=rf"{field}: points differ .* not an axis.*vary: {{{field}: \[...\]}}"
    ):
        refuse_confounds(points(**change), AXES)


def test_what_is_varied_or_follows_from_it_may_differ() -> None:
    clipped = points(gradient_clipping=1.0)
    with pytest.raises(ValueError, match="gradient_clipping"):
        refuse_confounds(clipped, AXES)
    refuse_confounds(clipped, [*AXES, "gradient_clipping"])
    refuse_confounds(points(), AXES)


def test_the_table_tells_axes_from_what_follows_and_what_is_constant() -> None:
    rows = {row.field: row for row in what_varied(points())}
    assert rows.keys() == Science.model_fields.keys()
    assert (rows["image_tower"].kind, rows["image_tower"].values) == ("axis", ("vit_s16", "vit_b16"))
    assert (rows["text_tower"].kind, rows["text_tower"].values) == ("derived", ("none", "text_s", "text_b"))
    assert (rows["idf"].kind, rows["idf"].values) == ("derived", ("online", "off"))
    assert (rows["precision"].kind, rows["precision"].values) == ("constant", ("bf16_autocast",))


def test_axes_come_first_in_the_table() -> None:
    kinds = [row.kind for row in what_varied(points())]
    assert kinds == sorted(kinds, key=("axis", "derived", "constant").index)
    assert kinds.count("axis") == 2


def test_a_text_tower_chosen_by_hand_is_an_axis() -> None:
    rows = {row.field: row.kind for row in what_varied(points(text_tower="text_l"))}
    assert rows["text_tower"] == "axis"
