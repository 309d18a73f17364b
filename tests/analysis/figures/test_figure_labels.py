"""Direct labels stand beside what they name and cover neither words nor data."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.figures.labels import Label, place_labels


def crowded(num_labels: int, seed: int) -> Figure:
    """Labels for the ends of curves that bunch up."""
    rng = np.random.default_rng(seed)
    figure = style.new_figure(3.35, 2.4)
    axes = figure.add_subplot()
    labels = []
    for index in range(num_labels):
        x, y = np.linspace(0, 1, 50), np.linspace(1, 0.4 + 0.02 * index, 50) + 0.01 * rng.standard_normal()
        axes.plot(x, y)
        labels.append(Label(text=f"tower number {index}", anchors=[(1.0, float(y[-1])), (0.5, float(y[25]))]))
    axes.set(xlim=(-0.05, 1.6), ylim=(0.2, 1.1))
    place_labels(figure, {axes: labels})
    return figure


@pytest.mark.parametrize("seed", range(4))
def test_labels_of_bunched_curves_stay_apart_and_inside(seed: int) -> None:
    figure = crowded(6, seed)
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 6
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    frame = axes.get_window_extent().padded(5)
    assert all(
        frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        for box in boxes
    )


def test_a_label_with_room_stands_at_its_preferred_anchor_and_covers_no_marker() -> None:
    figure = style.new_figure(3.35, 2.4)
    axes = figure.add_subplot()
    axes.plot([0.5], [0.5], "o")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    place_labels(figure, {axes: [Label(text="here", anchors=[(0.5, 0.5), (0.1, 0.1)])]})
    (text,) = axes.texts
    box, marker = text.get_window_extent(), axes.transData.transform((0.5, 0.5))
    assert text.xy == (0.5, 0.5) and not box.contains(*marker)
    assert np.abs(np.clip(marker, box.p0, box.p1) - marker).max() < 15  # pixels


def test_the_same_drawing_puts_its_labels_in_the_same_places() -> None:
    first, second = (crowded(5, 1).axes[0].texts for _ in range(2))
    assert [text.get_position() for text in first] == [text.get_position() for text in second]
