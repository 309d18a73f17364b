"""The sweeps that ship: each plans, and each header tells the truth about its cost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from scaling.hardware import accelerator
from scaling.placement import PlacementSettings
from scaling.plan import cost_summary, plan_sweep
from scaling.points import EvaluationPlan, RunPoint, resolve_points
from scaling.spec import TOP_LEVEL_KEYS, DataSection, EvaluateSection, SweepError, load_sweep
from scaling.sweep.science import COMPUTED_FIELDS, Science

FOLDER = Path(__file__).resolve().parents[2] / "sweeps"
SWEEPS = sorted(FOLDER.glob("*.yaml"))
GPU_COUNTS = [8, 16, 32, 64, 128, 256, 512]

every_sweep = pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sweeps are planned as on a fresh machine, whatever this one has rendered."""
    monkeypatch.chdir(tmp_path)
    for path in SWEEPS:
        for name in re.findall(r"\$\{(\w+)\}", path.read_text()):
            monkeypatch.setenv(name, "/nowhere")


def points_of(path: Path, num_ranks: int, *overrides: str) -> list[RunPoint]:
    return resolve_points(load_sweep(path, overrides), num_ranks=num_ranks, require_data=False)


@every_sweep
def test_a_sweep_opens_with_its_question_cost_and_expected_outcome(path: Path) -> None:
    first, second, third = path.read_text().splitlines()[:3]
    assert first.startswith("# ") and "?" in first
    assert second.startswith("# Cost: ")
    assert third.startswith("# Expected")


@every_sweep
def test_the_stated_cost_is_what_the_planner_computes(path: Path) -> None:
    stated = re.search(r"^# Cost: (.* device-hours on (\w+))", path.read_text(), re.MULTILINE)
    assert stated is not None, f"{path}: no line '# Cost: ... device-hours on ACCELERATOR'"
    computed = cost_summary(plan_sweep(points_of(path, 1), stated[2]))
    assert stated[1] == computed, f"{path}: write  # Cost: {computed}"


@every_sweep
@pytest.mark.parametrize("num_gpus", GPU_COUNTS)
def test_a_sweep_plans_for_8_to_512_gpus_unless_its_batch_is_too_small_to_split(
    path: Path, num_gpus: int
) -> None:
    points = [point.science for point in points_of(path, 1)]
    smallest_batch = min(point.global_batch for point in points)
    if num_gpus > smallest_batch:
        with pytest.raises(
            SweepError, match=f"does not divide over {num_gpus} ranks: use {smallest_batch} ranks"
        ):
            points_of(path, num_gpus)
        return
    groups = [p.batch_norm_samples for p in points if p.specification.image.has_batch_norm]
    if groups and smallest_batch // num_gpus % max(groups):
        with pytest.raises(SweepError, match=r"batch_norm_samples \(256\) must divide the batch per rank"):
            points_of(path, num_gpus)
        return
    plan = plan_sweep(points_of(path, num_gpus), "h100_sxm")
    assert plan.num_devices == num_gpus
    for planned in plan.points:
        per_rank, rest = divmod(planned.point.science.global_batch, num_gpus)
        assert rest == 0 and per_rank % planned.point.placement.micro_batch == 0


@every_sweep
def test_a_sweep_is_named_after_its_file_and_short(path: Path) -> None:
    assert load_sweep(path).name == path.stem
    assert len(path.read_text().splitlines()) <= 60


@every_sweep
def test_all_objectives_of_a_sweep_see_the_same_towers_and_samples(path: Path) -> None:
    seen: dict[str, set[tuple[Any, ...]]] = {}
    for point in points_of(path, 1):
        science = point.science
        shown = (science.image_tower, science.samples_seen, science.global_batch, science.seed)
        seen.setdefault(science.objective, set()).add(shown)
    first, *others = seen.values()
    assert all(other == first for other in others)


def test_the_paper_s_sweep_is_four_towers_and_both_objectives_under_the_paper_s_recipe() -> None:
    points = points_of(FOLDER / "model_scale.yaml", 64)
    towers = {point.science.image_tower for point in points}
    assert towers == {"vit_s16", "vit_b16", "vit_l16", "vit_h14"}
    assert len(points) == 8
    for point in points:
        recipe = Science(
            objective=point.science.objective, image_tower=point.science.image_tower, samples_seen=512_000_000
        )
        assert point.science == recipe


@pytest.mark.parametrize("num_gpus", GPU_COUNTS)
@pytest.mark.parametrize("name", ["h100_sxm", "h200"])
def test_the_paper_s_sweep_fits_8_to_512_gpus_by_what_the_planner_chooses(name: str, num_gpus: int) -> None:
    sweep = load_sweep(FOLDER / "model_scale.yaml")
    assert not {"micro_batch", "zero_stage", "activation_checkpointing"} & sweep.fixed.keys()
    points = resolve_points(sweep, num_ranks=num_gpus, require_data=False, device=accelerator(name))
    plan = plan_sweep(points, name)
    for planned in plan.points:
        assert planned.cost.peak_memory_bytes is not None
        assert 0 < planned.cost.peak_memory_bytes <= plan.usable_memory_bytes


def test_the_paper_s_sweep_without_data_stops_with_what_is_missing_and_how_to_make_it() -> None:
    sweep = load_sweep(FOLDER / "model_scale.yaml")
    with pytest.raises(SweepError) as caught:
        resolve_points(sweep, num_ranks=8, require_data=True)
    for part in (
        "model_scale.yaml",
        "data.train is not set",
        "--set data.train=DIR",
        "scaling data convert SRC DST",
    ):
        assert part in str(caught.value)


def test_the_paper_s_sweep_shrinks_by_overrides() -> None:
    tiny = [
        "image_tower=[vit_nano8]",
        "image_size=64",
        "samples_seen=1K",
        "warmup_samples=128",
        "global_batch=64",
    ]
    points = points_of(FOLDER / "model_scale.yaml", 2, *tiny)
    assert [point.science.objective for point in points] == ["superclass", "clip"]


def test_real_pairs_need_one_path_and_its_absence_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAIRS")
    with pytest.raises(SweepError, match="environment variable PAIRS, which is not set: export PAIRS=DIR"):
        load_sweep(FOLDER / "pairs.yaml")
    monkeypatch.setenv("PAIRS", "/photographs")
    (source,) = load_sweep(FOLDER / "pairs.yaml").data.train
    assert source.folder == Path("/photographs/train")


# sweeps/README.md documents every key


def test_the_worked_example_of_the_readme_plans(tmp_path: Path) -> None:
    readme = (FOLDER.parent / "README.md").read_text()
    example = re.search(r"^```yaml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert example is not None
    (tmp_path / "batch.yaml").write_text(example[1])
    assert len(points_of(tmp_path / "batch.yaml", 2)) == 6


OF_TOKENIZERS = ("vocabularies", "label_counts")
"""Keys of the data section that hold one path per tokenizer."""


def documented() -> dict[str, str]:
    """Key -> default, as the tables of sweeps/README.md print them."""
    rows = re.findall(
        r"^\| `([\w.]+)` \|.*?\| ([^|]*) \|[^|]*\|$", (FOLDER / "README.md").read_text(), re.MULTILINE
    )
    return {key: default.strip() for key, default in rows}


def test_the_readme_documents_every_key_and_no_other() -> None:
    keys = {*TOP_LEVEL_KEYS} - {"data", "evaluate"}
    keys |= {f"data.{key}{'.NAME' if key in OF_TOKENIZERS else ''}" for key in DataSection.model_fields}
    keys |= {f"evaluate.{key}" for key in EvaluateSection.model_fields}
    keys |= Science.model_fields.keys() - {"seed"} - COMPUTED_FIELDS
    keys |= PlacementSettings.model_fields.keys()
    assert documented().keys() == keys


def test_the_readme_states_the_defaults_that_hold() -> None:
    table = documented()
    models = {"": Science, "evaluate.": EvaluateSection}
    for prefix, model in models.items():
        for name, info in model.model_fields.items():
            default = table.get(prefix + name, "").partition(";")[0].strip("`").replace(",", "")
            if isinstance(info.default, bool):
                assert default == str(info.default).lower(), name
            elif isinstance(info.default, (int, float)) and prefix + name in table:
                assert float(default) == pytest.approx(info.default), prefix + name
            elif isinstance(info.default, str) and name in table and name not in ("text_tower", "pooling"):
                assert default == info.default, name
    assert table["evaluate.batch"] == str(EvaluationPlan(tasks=()).batch)
