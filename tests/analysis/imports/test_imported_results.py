"""Foreign results become rows of a study; their compute becomes training FLOPs, and the rows say by what rule."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.imports import compute_axis_label, import_results
from analysis.imports.results import TIDY_COLUMNS

OPENCLIP = Path(__file__).parents[4] / "shared/data/scaling_laws/openclip/zeroshot_results.csv"
MAPPING = """
compute: {convention: forward_gmacs, per_sample: gmacs}
columns: {image_tower: arch, samples_seen: {column: samples_b, scale: 1e9}, run_id: name}
values: {objective: clip, seed: 0}
metrics: {imagenet.top1: {column: acc, kind: accuracy, scale: 0.01}, val.loss: {column: loss, kind: loss}}
"""


def results(folder: Path, **columns: object) -> Path:
    """A small CSV of two runs; `columns` replace its columns."""
    table = {"arch": ["B-16", "L-14"], "samples_b": [0.5, 1.28], "name": ["b", "l"], "gmacs": [20.5, 87.7]}
    path = folder / "results.csv"
    pd.DataFrame(table | {"acc": [60.0, 70.0], "loss": [2.5, 2.25]} | columns).to_csv(path, index=False)
    return path


def mapping(folder: Path, text: str = MAPPING) -> Path:
    path = folder / "mapping.yaml"
    path.write_text(text)
    return path


def test_any_csv_is_read_by_a_mapping_file_with_several_metrics(tmp_path: Path) -> None:
    table = import_results(results(tmp_path), mapping(tmp_path))
    assert tuple(table.columns) == TIDY_COLUMNS
    assert sorted(set(table["metric"])) == ["imagenet.top1", "val.loss"]
    run = table[(table["run_id"] == "l") & (table["metric"] == "imagenet.top1")].iloc[0]
    assert (run["objective"], run["image_tower"], run["samples_seen"], run["seed"]) == (
        "clip",
        "L-14",
        1.28e9,
        0,
    )
    assert run["error"] == pytest.approx(0.3)
    assert np.isnan(run["parameters"])  # not in the file: absent
    assert table.query("metric == 'val.loss'")["error"].tolist() == [2.5, 2.25]


@pytest.mark.parametrize(
    ("convention", "factor", "label"),
    [
        ("forward_gmacs", 6e9, "training FLOPs = 6 x forward MACs"),
        ("forward_gflops", 3e9, "training FLOPs = 3 x forward FLOPs"),
        ("forward_flops", 3, "training FLOPs = 3 x forward FLOPs"),
        ("train_gmacs", 2e9, "training FLOPs = 2 x training MACs"),
        ("train_flops", 1, "training FLOPs as imported"),
    ],
)
def test_every_convention_becomes_training_flops_and_labels_the_axis(
    tmp_path: Path, convention: str, factor: float, label: str
) -> None:
    text = MAPPING.replace("forward_gmacs", convention)
    table = import_results(results(tmp_path), mapping(tmp_path, text))
    assert table["train_flops"].iloc[0] == pytest.approx(factor * 20.5 * 0.5e9)
    assert compute_axis_label(table) == f"training compute ({label})"


def test_rows_that_count_compute_in_two_ways_do_not_share_an_axis(tmp_path: Path) -> None:
    one = import_results(results(tmp_path), mapping(tmp_path))
    other = import_results(results(tmp_path), mapping(tmp_path, MAPPING.replace("gmacs, per", "gflops, per")))
    with pytest.raises(ValueError, match="2 ways on one axis"):
        compute_axis_label(pd.concat([one, other]))


def test_filters_keep_the_named_values_and_finished_epochs_only(tmp_path: Path) -> None:
    path = results(tmp_path, arch=["B-16"] * 2, name=["b"] * 2, epoch=[1, 2], epochs=[2, 2])
    text = MAPPING + "where: {epoch: {equals: epochs}}"
    assert len(import_results(path, mapping(tmp_path, text)).query("metric == 'val.loss'")) == 1
    with pytest.raises(ValueError, match=r"column 'arch' is 'B-15' in no row; did you mean 'B-16'\?"):
        import_results(path, mapping(tmp_path, MAPPING + "where: {arch: B-15}"))


def test_one_column_of_tasks_gives_one_metric_per_task(tmp_path: Path) -> None:
    path = results(tmp_path, task=["imagenet", "cars"])
    text = MAPPING.replace("imagenet.top1", '"{task}.top1"')
    assert {"imagenet.top1", "cars.top1"} < set(import_results(path, mapping(tmp_path, text))["metric"])


def test_patterns_tell_objectives_apart_and_fixed_values_replace_them(tmp_path: Path) -> None:
    path = results(tmp_path, arch=["ViT-B-16-SigLIP", "ViT-L-14"])
    text = MAPPING.replace("objective: clip, ", "").replace(
        "columns: {",
        'columns: {objective: {column: arch, match: {SigLIP: siglip, "ViT-(.)": "clip_\\\\1"}}, ',
    )
    assert import_results(path, mapping(tmp_path, text))["objective"].unique().tolist() == [
        "siglip",
        "clip_L",
    ]
    fixed = import_results(
        path, mapping(tmp_path, text), values={"objective": "coca", "samples_seen": "1.28B"}
    )
    assert set(fixed["objective"]) == {"coca"} and set(fixed["samples_seen"]) == {1.28e9}


def test_sizes_come_from_a_table_of_towers(tmp_path: Path) -> None:
    towers = tmp_path / "towers.csv"
    towers.write_text("model,mparams\nB-16,86.2\nL-14,304.0\n")
    text = MAPPING + "profile: {files: [towers.csv], key: model, of: arch}"
    text = text.replace("columns: {", "columns: {parameters: {column: profile.mparams, scale: 1e6}, ")
    table = import_results(results(tmp_path), mapping(tmp_path, text))
    assert table["parameters"].tolist() == pytest.approx([86.2e6, 304e6] * 2)
    towers.write_text("model,mparams\nB-16,86.2\nL-16,304.0\n")
    with pytest.raises(ValueError, match=r"towers.csv: column 'model' lacks 'L-14'.*did you mean 'L-16'\?"):
        import_results(results(tmp_path), mapping(tmp_path, text))
    towers.unlink()
    with pytest.raises(ValueError, match="towers.csv, which does not exist"):
        import_results(results(tmp_path), mapping(tmp_path, text))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"acc": [60.0, 7000.0]},
            r"column 'acc' x scale is 70; an accuracy is between 0 and 1: set scale: 0.01",
        ),
        ({"acc": ["60", "n/k"]}, r"column 'acc', 'n/k' in row 2 is not a number"),
        ({"loss": [2.5, -1]}, r"column 'loss', -1.0 in row 2 is not positive and finite"),
        ({"samples_b": [0.5, None]}, r"column 'samples_b' is empty in row 2"),
        ({"arch": ["B-16", None]}, r"column 'arch' is empty in row 2"),
        ({"name": ["b", "b"]}, r"run_id 'b' has several rows of 'imagenet.top1'; add a column"),
        ({"loss": [None, None]}, r"column 'loss' has no value for metric 'val.loss'"),
    ],
)
def test_a_bad_cell_is_refused_with_file_column_value_and_fix(
    tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        import_results(results(tmp_path, **columns), mapping(tmp_path))
    assert "results.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("column: acc,", "column: ac,", r"results.csv: no column 'ac'; did you mean 'acc'\?"),
        ("columns:", "colums:", r"unknown key 'colums'; did you mean 'columns'\?"),
        ("kind: loss", "kinds: loss", r"metrics.val.loss: unknown key 'kinds'; did you mean 'kind'\?"),
        ("kind: loss", "kind: nll", r"metrics.val.loss.kind: .*'accuracy', 'error' or 'loss'"),
        ("forward_gmacs", "forwrd_gmacs", r"compute: unknown convention .*did you mean 'forward_gmacs'\?"),
        (", per_sample: gmacs", "", r"compute: name the column of compute"),
        ("image_tower: arch", "image_towr: arch", r"'image_towr' is not a column of a study; did you mean"),
        ("values: {objective: clip, ", "values: {", r"\['objective'\] missing"),
        ("seed: 0", "run_id: x", r"\['run_id'\] stand in both columns and values"),
        ("compute: {", "compute: [", "mapping.yaml: not YAML"),
    ],
)
def test_a_wrong_mapping_is_refused_with_the_key_and_the_fix(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in MAPPING
    with pytest.raises(ValueError, match=message):
        import_results(results(tmp_path), mapping(tmp_path, MAPPING.replace(old, new)))


def test_an_unknown_mapping_or_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'laion_opencli': no such file.*did you mean 'laion_openclip'\?"):
        import_results(results(tmp_path), "laion_opencli")
    with pytest.raises(ValueError, match="missing.csv: no such file"):
        import_results(tmp_path / "missing.csv", mapping(tmp_path))


def test_total_compute_must_agree_with_compute_per_sample(tmp_path: Path) -> None:
    text = MAPPING.replace("per_sample: gmacs", "per_sample: gmacs, total: total")
    good = results(tmp_path, total=[20.5 * 0.5e9, 87.7 * 1.28e9])
    assert import_results(good, mapping(tmp_path, text))["train_flops"].iloc[0] == pytest.approx(6.15e19)
    with pytest.raises(ValueError, match="'total' is .* in row 2, but 'gmacs' x samples_seen is"):
        import_results(results(tmp_path, total=[20.5 * 0.5e9, 1.0]), mapping(tmp_path, text))


@pytest.mark.skipif(not OPENCLIP.exists(), reason="the results of LAION are not beside this checkout")
def test_laions_openclip_results_have_32_models_and_the_known_slope() -> None:
    table = import_results(OPENCLIP, "laion_openclip")
    imagenet = table[table["metric"] == "imagenet1k.acc1"]
    assert len(imagenet) == 32 and table["metric"].nunique() == 42
    largest = imagenet.loc[imagenet["train_flops"].idxmax()]
    assert largest["train_flops"] == pytest.approx(6 * 190.97e9 * 34725395968)
    assert largest["parameters"] == pytest.approx(632.08e6) and largest["error"] == pytest.approx(1 - 0.77972)
    laion = imagenet[imagenet["objective"] != "CLIP-WIT"]
    slope = np.polyfit(np.log(laion["train_flops"]), np.log(laion["error"]), 1)[0]
    # least squares through all points, in any unit of compute
    assert slope == pytest.approx(-0.1012, abs=5e-5)


def test_laions_comparison_tells_the_objectives_by_the_name_of_the_model(tmp_path: Path) -> None:
    names = ["mammut_ViT-B-32", "ViT-B-32", "ViT-B-32-SigLIP", "coca_ViT-B-32"]
    (tmp_path / "model_profile.csv").write_text(
        "model,image_mparams\n" + "".join(f"{n},87.85\n" for n in names)
    )
    rows = pd.DataFrame({"model": names, "name": names, "acc1": [0.5, 0.4, 0.45, 0.42], "gflops_total": 1e9})
    rows = rows.assign(total_samples_seen=3e8, lr_scheduler="cosine", total_epochs=10, epoch=10)
    rows = rows.assign(pretrain_dataset="datacomp_1b", downstream_dataset="imagenet1k")
    unfinished = rows.assign(epoch=5, acc1=0.1)
    path = tmp_path / "scaling_laws" / "data" / "all_results.csv.gz"
    path.parent.mkdir(parents=True)
    with gzip.open(path, "wt") as file:
        pd.concat([rows, unfinished]).to_csv(file, index=False)
    table = import_results(path, "laion_comparison")
    assert table["objective"].tolist() == ["mammut", "clip", "siglip", "coca"]
    assert set(table["image_tower"]) == {"ViT-B-32"}
    assert table["train_flops"].tolist() == [3e18] * 4


def open_clip_run(folder: Path, name: str, arguments: str, *rows: dict[str, float]) -> None:
    (folder / name / "checkpoints").mkdir(parents=True)
    (folder / name / "params.txt").write_text(arguments)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name / "checkpoints" / "results.jsonl").write_text(lines)


ARGUMENTS = "epochs: 2\nmodel: ViT-S-16\nname: small\nseed: 7\ntrain_data: s3://bucket/{0..9}.tar\n"
SCORES = {"imagenet-zeroshot-val-top1": 0.3, "num_samples": 5000}


def test_open_clips_logs_give_the_last_epoch_with_samples_from_the_arguments(tmp_path: Path) -> None:
    (tmp_path / "model_profile.csv").write_text("model,image_mparams,gflops\nViT-S-16,21.81,12.58\n")
    arguments = ARGUMENTS + "train_num_samples: 64000000\n"
    last = {"imagenet-zeroshot-val-top1": 0.4, "epoch": 2}
    open_clip_run(
        tmp_path, "small", arguments, SCORES | {"epoch": 1}, last, {"clip_val_loss": 1.5, "epoch": 2}
    )
    table = import_results(tmp_path, "open_clip").set_index("metric")
    assert table["error"].to_dict() == pytest.approx({"imagenet_zero_shot.top1": 0.6, "validation.loss": 1.5})
    assert set(table["samples_seen"]) == {128e6}  # not the 5,000 evaluated ones
    assert table["train_flops"].iloc[0] == pytest.approx(3 * 12.58e9 * 128e6)
    assert set(table["seed"]) == {7} and set(table["parameters"]) == {21.81e6}


def test_an_open_clip_run_without_its_number_of_samples_is_refused(tmp_path: Path) -> None:
    open_clip_run(tmp_path, "small", ARGUMENTS + "train_num_samples: None\n", SCORES | {"epoch": 2})
    with pytest.raises(ValueError, match="params.txt: train_num_samples is 'None'"):
        import_results(tmp_path, "open_clip")
    (tmp_path / "small" / "params.txt").unlink()
    with pytest.raises(ValueError, match="results.jsonl: no .*params.txt"):
        import_results(tmp_path, "open_clip")


def test_a_line_that_was_cut_off_is_named(tmp_path: Path) -> None:
    open_clip_run(tmp_path, "small", ARGUMENTS + "train_num_samples: 10\n", SCORES | {"epoch": 1})
    with (tmp_path / "small" / "checkpoints" / "results.jsonl").open("a") as file:
        file.write('{"epoch": 2, "imag')
    with pytest.raises(ValueError, match=r"results.jsonl, line 2: not JSON"):
        import_results(tmp_path, "open_clip")
