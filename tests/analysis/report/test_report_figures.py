"""The figures of a page: each once, however many sections might show it."""

from __future__ import annotations

from pathlib import Path

from page_reader import read_page, section
from simulated_report import report_of
from simulated_sweep import SweepFolder, planned_cost, science, surface_error


def test_a_sweep_along_equal_compute_shows_its_valleys_once(
    sweep_folder: SweepFolder, tmp_path: Path
) -> None:
    for compute in (1e12, 4e12, 16e12):
        for tower in ("vit_nano8", "vit_micro8", "vit_tiny8"):
            per_sample = planned_cost(science("superclass", tower, 1)).train_flops
            point = science("superclass", tower, round(compute / per_sample))
            sweep_folder.add(point, "done", error=surface_error(point))
    page = read_page(report_of(sweep_folder, tmp_path))
    assert "Fitted to 9 runs with" in section(page, "answer").text
    captions = [one.text for one in section(page, "laws").all("figcaption")]
    assert sum("at equal training compute" in caption for caption in captions) == 1
