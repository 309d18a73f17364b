"""The notebook's words on Chinchilla's points: their values where the points are, where to find them otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.published.chinchilla import PUBLISHED, PUBLISHED_ENDS, ChinchillaRefit, chinchilla_refit

DATA = Path(__file__).parents[3] / "../shared/data/scaling_laws"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no published data at {DATA}")
def test_the_refit_and_its_intervals_are_the_published_ones() -> None:
    found = chinchilla_refit(DATA, num_refits=400)
    assert isinstance(found, ChinchillaRefit)
    assert found.table()["absolute residuals"].to_dict() == pytest.approx(dict(PUBLISHED), rel=1e-3)
    for name, ends in PUBLISHED_ENDS.items():
        assert (found.intervals[name].lower, found.intervals[name].upper) == pytest.approx(ends, rel=0.1)
    assert "100 % of the starts" in found.sentences()[0]


def test_absent_points_are_said_to_be_absent_with_their_source() -> None:
    found = chinchilla_refit(Path("no such folder"))
    (told,) = found.sentences()
    assert "svg_extracted_data.csv" in told and "github.com" in told
    assert list(found.table().columns) == ["published"]
