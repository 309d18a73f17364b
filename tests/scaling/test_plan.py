"""The plan: a contract over what will run, with what it should cost beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from printed_plan import printed
from rich.console import Console

from scaling.plan import Plan, cost_summary, format_hours, plan_sweep, with_schedule, write_plan
from scaling.planning.contract import plan_to_keep
from scaling.planning.plan_notes import plan_notes
from scaling.planning.plan_table import (
    TOO_LARGE,
    plan_tables,
    short,
    taken_columns,
    taken_row,
    totals_row,
    unit_of,
)
from scaling.planning.requested_plan import PlanRequest, requested_plan
from scaling.points import resolve_points
from scaling.spec import SweepError, load_sweep

PAPER = """
name: paper
question: q
vary:
  objective: [superclass, clip]
  image_tower: [vit_s16, vit_b16]
fixed: {samples_seen: 512M}
"""

PlanOf = Callable[..., Plan]


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    (tmp_path / "paper.yaml").write_text(PAPER)
    return tmp_path / "paper.yaml"


@pytest.fixture
def plan_of(paper: Path) -> PlanOf:
    def planned(*overrides: str, num_ranks: int = 8, accelerator: str = "h100_sxm") -> Plan:
        points = resolve_points(load_sweep(paper, overrides), num_ranks=num_ranks, require_data=False)
        return plan_sweep(points, accelerator)

    return planned


@pytest.fixture
def asked(paper: Path, tmp_path: Path) -> PlanOf:
    def planned(
        *overrides: str, num_devices: int = 8, accelerator: str = "h100_sxm", **wishes: object
    ) -> Plan:
        wishes = {"runs": tmp_path / "runs", **wishes}
        request = PlanRequest(num_devices=num_devices, accelerator=accelerator, **wishes)  # type: ignore[arg-type]
        return requested_plan(load_sweep(paper, overrides), request)

    return planned


def test_the_contract_covers_science_placement_and_evaluation(plan_of: PlanOf) -> None:
    agreed = plan_of().contract_hash
    assert plan_of().contract_hash == agreed
    assert plan_of("learning_rate=1e-3").contract_hash != agreed
    assert plan_of("activation_checkpointing=blocks").contract_hash != agreed
    assert plan_of("evaluate.batch=64").contract_hash != agreed
    assert plan_of(num_ranks=16).contract_hash != agreed


def test_a_field_that_came_later_leaves_the_contracts_of_before_as_they_were(plan_of: PlanOf) -> None:
    """The hash is that of the version before `schedule: wsd`, with the same sweep."""
    assert plan_of().contract_hash == "7c23c7471f936e3e"
    assert plan_of("schedule=wsd").contract_hash != plan_of("schedule=wsd", "decay_share=0.1").contract_hash


def test_predictions_and_paths_are_no_part_of_the_contract(plan_of: PlanOf, asked: PlanOf) -> None:
    agreed = plan_of().contract_hash
    assert plan_of(accelerator="a100_sxm_80gb").contract_hash == agreed
    assert plan_of("data.train=/somewhere", "data.validation=/somewhere/else").contract_hash == agreed
    assert asked(usd_per_hour=2.5, jobs=3, budget="1e6 usd").contract_hash == asked().contract_hash


def test_the_totals_are_the_sums_of_the_points(plan_of: PlanOf) -> None:
    plan = plan_of()
    costs = [planned.cost for planned in plan.points]
    assert plan.totals.train_flops == sum(cost.train_flops for cost in costs)
    assert (
        plan.totals.hardware_flops
        == sum(cost.hardware_flops or 0 for cost in costs)
        > plan.totals.train_flops
    )
    assert plan.totals.device_hours == pytest.approx(sum(cost.device_hours for cost in costs))
    assert plan.totals.data_bytes == sum(cost.data_bytes or 0 for cost in costs)
    assert plan.totals.disk_bytes == sum(cost.disk_bytes or 0 for cost in costs)
    assert cost_summary(plan).startswith("4 runs, ")
    assert cost_summary(plan).endswith("device-hours on h100_sxm")


def test_a_price_gives_money_and_without_one_there_is_no_money(asked: PlanOf) -> None:
    plan = asked(usd_per_hour=2.5)
    assert plan.usd == pytest.approx(2.5 * plan.totals.device_hours)
    assert taken_columns(plan)[-1] == "usd" and totals_row(plan)[-1] == format_hours(plan.usd or 0.0)
    assert asked().usd is None and "usd" not in taken_columns(asked())


def test_the_table_has_one_row_per_point_under_its_columns(plan_of: PlanOf) -> None:
    plan = plan_of()
    trained, placed, taken = plan_tables(plan)
    rows_of_tables = [table.row_count for table in (trained, placed, taken)]
    assert rows_of_tables == [4, 4, 6]  # with an empty one, and the totals
    rows = [*(taken_row(planned, plan) for planned in plan.points), totals_row(plan)]
    assert {len(row) for row in rows} == {1 + len(taken_columns(plan))}


def test_the_table_shows_every_figure_at_100_columns(asked: PlanOf) -> None:
    wide = "image_tower=[vit_h14, vit_micro8]"
    text = printed(asked(wide, "samples_seen=12.8B", "seed=[10]", num_devices=64, usd_per_hour=99.5, jobs=2))
    assert "…" not in text and max(map(len, text.splitlines())) <= 100


def test_the_plan_shows_what_the_planner_chose_and_device_and_host_memory_apart(asked: PlanOf) -> None:
    plan = asked("image_tower=vit_h14", num_devices=64)
    placed = printed(plan).partition("how it is placed")[2].partition("what it takes")[0]
    for told in plan.points:
        (row,) = [line for line in placed.splitlines() if line.startswith(told.point.run_id)]
        placement = told.point.placement
        chosen = [str(placement.zero_stage), str(placement.micro_batch), placement.activation_checkpointing]
        assert row.split()[1:5] == [placement.engine, *chosen] and "GB" in row
    assert "host" not in placed and all(told.cost.host_memory_bytes == 0 for told in plan.points)
    offloaded = asked("offload=optimizer", num_devices=64)
    placed = printed(offloaded).partition("how it is placed")[2].partition("what it takes")[0]
    assert "host" in placed and all(told.cost.host_memory_bytes for told in offloaded.points)


def test_both_kinds_of_flops_stand_side_by_side_and_the_convention_below(plan_of: PlanOf) -> None:
    text = printed(plan_of("activation_checkpointing=blocks"))
    assert taken_columns(plan_of())[:2] == ("model\nFLOPs", "hardware\nFLOPs")
    assert "2 x multiply-adds" in text and "computed again" in text


def test_axes_that_a_run_s_name_does_not_tell_have_a_table(plan_of: PlanOf) -> None:
    plan = plan_of("objective=superclass", "classification_loss=[softmax, bce]")
    differs = plan_tables(plan)[0]
    assert [column.header for column in differs.columns] == ["run", "classification_loss"]
    assert set(differs.columns[1].cells) == {"softmax", "bce"}
    assert len(plan_tables(plan)) == 1 + len(plan_tables(plan_of())) == 4


def test_a_plan_without_data_says_that_its_run_ids_are_provisional(plan_of: PlanOf) -> None:
    assert plan_of().is_provisional and "provisional" in printed(plan_of())
    assert "35 kB a sample" in printed(plan_of())


def write_index(folder: Path, stored: int, compressed: int | None, samples: int) -> Path:
    """A training set of one shard, by its index."""
    folder.mkdir()
    (folder / "shard").touch()
    files: dict[str, object] = {
        "raw_data": {"basename": "shard", "bytes": stored, "hashes": {}},
        "zip_data": None,
    }
    if compressed is not None:
        files["zip_data"] = {"basename": "shard", "bytes": compressed, "hashes": {}}
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": [{**files, "samples": samples}]}))
    return folder


def test_the_data_to_read_follow_the_index_of_the_training_set(plan_of: PlanOf, tmp_path: Path) -> None:
    """By the bytes that are stored, of a mixture by its proportions: (3 x 20 + 1 x 40) / 4 = 25 bytes a sample."""
    small = write_index(tmp_path / "small", stored=9_999, compressed=2_000, samples=100)
    large = write_index(tmp_path / "large", stored=400, compressed=None, samples=10)
    plan = plan_of(f"data.train=[{{path: {small}, proportion: 3}}, {{path: {large}}}]")
    assert [told.cost.data_bytes for told in plan.points] == [512_000_000 * 25] * 4
    assert "mean sample of the training set's index" in " ".join(plan_notes(plan))


def test_the_plan_tells_what_varies(plan_of: PlanOf) -> None:
    kinds = {row.field: row.kind for row in plan_of().varied}
    assert [field for field, kind in kinds.items() if kind == "axis"] == ["objective", "image_tower"]


def test_a_written_plan_reads_back(asked: PlanOf, tmp_path: Path) -> None:
    plan = asked(usd_per_hour=1.0, jobs=2, budget="100 device-hours")
    write_plan(plan, tmp_path / "runs" / "paper" / "plan.json")
    assert Plan.model_validate_json((tmp_path / "runs" / "paper" / "plan.json").read_text()) == plan
    assert plan.is_agreed and plan.schedule is not None and plan.purchase is not None


def test_planning_again_opens_no_run_that_was_trained_under_seal(plan_of: PlanOf, tmp_path: Path) -> None:
    plan, path = plan_of(), tmp_path / "plan.json"
    trained, waiting = (told.point.run_id for told in plan.points[-2:])
    write_plan(plan.model_copy(update={"holdout": (trained, waiting)}), path)
    (tmp_path / trained).mkdir()
    write_plan(plan, path)
    assert Plan.model_validate_json(path.read_text()).holdout == (trained,)
    kept = plan_to_keep(plan, path, replan=True)
    assert kept.holdout == (trained,)
    path.write_text("{")
    write_plan(plan, path)
    assert Plan.model_validate_json(path.read_text()).holdout == ()


def test_jobs_at_once_take_the_longest_job_s_hours(plan_of: PlanOf) -> None:
    plan = with_schedule(plan_of(), 4)
    assert plan.schedule is not None
    assert plan.schedule.hours == pytest.approx(max(plan.hours().values()))
    assert with_schedule(plan_of(), 1).schedule.hours == pytest.approx(  # type: ignore[union-attr]
        plan.totals.device_hours / 8
    )
    assert "4 jobs of 8 devices each" in printed(plan) and "Critical path" in printed(plan)


def test_a_budget_in_money_is_worth_device_hours_at_the_price(asked: PlanOf) -> None:
    hours, money = asked(budget="100 device-hours"), asked(budget="250 usd", usd_per_hour=2.5)
    assert hours.purchase is not None and money.purchase is not None
    assert hours.purchase.run_ids == money.purchase.run_ids
    assert "100 device-hours buy" in printed(hours)
    with pytest.raises(ValueError, match="--budget 250 usd needs a price: give --price"):
        asked(budget="250 usd")


def leave_record(folder: Path, *run_ids: str) -> None:
    for run_id in run_ids:
        (folder / run_id).mkdir(parents=True)
        for name in ("point.json", "record.json"):
            (folder / run_id / name).write_text("{}")


def test_a_run_that_is_done_costs_no_more_and_is_listed(asked: PlanOf, tmp_path: Path) -> None:
    first, second, *others = [told.point.run_id for told in asked().points]
    leave_record(tmp_path / "runs" / "paper", first, second)
    plan = asked(budget="1000 device-hours")
    assert plan.done == (first, second)
    assert plan.purchase is not None and set(plan.purchase.run_ids) == set(others)
    assert plan.schedule is not None and set(plan.schedule.critical_path) == set(others)
    assert plan.totals == asked(runs=tmp_path / "none").totals
    said = printed(plan)
    assert "2 of 4 runs are done already, and cost nothing more; " in said and f"  {first}\n" in said


def test_a_sweep_that_is_done_has_nothing_left_to_buy_or_train(asked: PlanOf, tmp_path: Path) -> None:
    leave_record(tmp_path / "runs" / "paper", *(told.point.run_id for told in asked().points))
    said = printed(asked(budget="1 device-hours", jobs=2))
    for sentence in (
        "All 4 runs are done already",
        "No run is left to train",
        "buy nothing: every run is done",
    ):
        assert sentence in said


def test_an_unknown_accelerator_is_refused(plan_of: PlanOf, asked: PlanOf) -> None:
    for planned in (plan_of, asked):
        with pytest.raises(ValueError, match="unknown accelerator 'h100sxm'. Did you mean 'h100_sxm'"):
            planned(accelerator="h100sxm")


def test_more_devices_than_samples_per_batch_are_refused(asked: PlanOf) -> None:
    with pytest.raises(SweepError, match=r"global_batch \(64\) does not divide over 128 ranks: use 64 ranks"):
        asked("global_batch=64", num_devices=128)


def test_what_the_file_leaves_open_is_chosen_so_that_it_fits(asked: PlanOf) -> None:
    plan = asked("image_tower=vit_h14", "objective=clip", num_devices=8)
    placement, peak = plan.points[0].point.placement, plan.points[0].cost.peak_memory_bytes
    assert peak is not None and peak <= plan.usable_memory_bytes
    assert placement.micro_batch * 8 < plan.points[0].point.science.global_batch, "or it would not"


def test_written_placement_that_does_not_fit_is_refused_and_the_nearest_that_does_is_named(
    asked: PlanOf,
) -> None:
    written = ("micro_batch=256", "activation_checkpointing=none", "zero_stage=1")
    with pytest.raises(
        SweepError, match=r"vit_h14 at micro_batch 256.* GB on h100_sxm.*: use micro_batch \d+ \("
    ):
        asked("image_tower=vit_h14", "objective=clip", "global_batch=16384", *written, num_devices=8)


def test_memory_that_no_placement_fits_into_is_refused(asked: PlanOf) -> None:
    with pytest.raises(SweepError, match="vit_h14.* on cpu_core, which has 4 GB"):
        asked("image_tower=vit_h14", "objective=clip", accelerator="cpu_core", num_devices=1)


def test_a_peak_that_experience_says_will_not_fit_is_marked(plan_of: PlanOf, asked: PlanOf) -> None:
    plan = plan_of("image_tower=vit_h14", "objective=clip", "activation_checkpointing=blocks")
    assert any(cell.endswith(TOO_LARGE) for cell in taken_row(plan.points[0], plan))
    assert f"{TOO_LARGE} 1 run would not fit into 73.6 GB" in printed(plan)
    assert "would not fit" not in printed(asked())


@pytest.mark.parametrize(
    ("hours", "text"),
    [(22_612.3, "22,600"), (1_158, "1,160"), (99.96, "100"), (2.617, "2.62"), (0.01234, "0.0123")],
)
def test_hours_have_three_significant_digits(hours: float, text: str) -> None:
    assert format_hours(hours) == text


@pytest.mark.parametrize(
    ("number", "text"), [(22_612.3, "22,600"), (0.0123, "0.0123"), (0.000406, "4.1e-4"), (0.0, "0")]
)
def test_small_figures_of_the_table_are_powers_of_ten(number: float, text: str) -> None:
    assert short(number) == text


def test_the_plan_of_a_tiny_sweep_wraps_no_figure(asked: PlanOf) -> None:
    tiny = (
        "image_tower=[vit_nano8]",
        "image_size=32",
        "samples_seen=256",
        "warmup_samples=64",
        "global_batch=32",
    )
    plan = asked(*tiny, num_devices=1, accelerator="cpu_core", usd_per_hour=0.04)
    rows = [line.split() for line in printed(plan).splitlines() if line.startswith(("clip-", "superclass-"))]
    # name, columns, and a unit that stands apart; a cell that wraps is cut in two lines
    assert [len(row) for row in rows] == [8, 8, 7, 7, 9, 9]
    assert all(taken_row(told, plan) == tuple(row) for told, row in zip(plan.points, rows[4:], strict=True))


LONG_NAMES = ("image_tower=[convnext_tiny]", "samples_seen=12.8B")


def test_long_names_leave_every_figure_in_one_piece_at_100_columns(asked: PlanOf) -> None:
    plan = asked(*LONG_NAMES, accelerator="a100_sxm_40gb", usd_per_hour=99.5)
    lines = [line.split() for line in printed(plan).splitlines()]
    for told in plan.points:
        assert list(taken_row(told, plan)) in lines


def test_a_console_too_narrow_for_a_table_folds_names_and_never_figures(asked: PlanOf) -> None:
    plan = asked(*LONG_NAMES, usd_per_hour=99.5)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))
    console.print(plan_tables(plan, 80)[-1])
    text = console.export_text()
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    figures = [line.split()[1:] for line in text.splitlines()]
    for told in plan.points:
        assert list(taken_row(told, plan)[1:]) in figures


@pytest.mark.parametrize(("size", "unit"), [(0, "B"), (999, "B"), (1e3, "kB"), (141e9, "GB"), (2e13, "TB")])
def test_bytes_are_told_in_the_largest_decimal_unit_below_them(size: float, unit: str) -> None:
    assert unit_of(size) == unit
