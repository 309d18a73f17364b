"""The paper's numbers are carried over whole, agree where the paper prints them twice, and name their source."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.published.tables import TABLES, published_table

TRANSCRIPT = Path(__file__).parents[4] / "shared/data/published/superclass_tables.csv"
RUN = ["image_tower", "samples_seen", "metric", "value"]


def values_of(
    number: int, method: str = "SuperClass", setting: str = "", **where: object
) -> set[tuple[object, ...]]:
    rows = published_table(number)
    rows = rows[(rows["method"] == method) & (rows["setting"] == setting)]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    assert len(rows)
    return set(rows[RUN].itertuples(index=False, name=None))


@pytest.mark.parametrize("number", list(TABLES))
def test_every_table_has_as_many_numbers_as_the_paper_prints_and_no_number_twice(number: int) -> None:
    table = published_table(number)
    assert len(table) == TABLES[number].num_values
    assert not table.duplicated(["method", "setting", "image_tower", "samples_seen", "metric"]).any()
    assert table["source"].eq(f"arXiv:2411.03313 (NeurIPS 2024, 37:96483-96504), Table {number}").all()


@pytest.mark.parametrize("number", list(TABLES))
def test_every_number_is_in_the_range_of_its_metric(number: int) -> None:
    table = published_table(number)
    percent = table[table["unit"] == "percent"]
    assert percent["value"].between(0.1, 100).all()
    most = {"mme": 2800, "mme_perception": 2000, "mme_cognition": 800, "coco_cider_clipcap": 200}
    scores = table[table["unit"] == "score"]
    assert all(value < most[metric] for metric, value in zip(scores["metric"], scores["value"], strict=True))


def test_tables_4_5_7_8_and_9_agree_on_the_runs_they_share() -> None:
    assert values_of(8, samples_seen=512_000_000) == values_of(9, image_tower="vit_l16")
    assert values_of(8, "CLIP", samples_seen=512_000_000) == values_of(9, "CLIP", image_tower="vit_l16")
    assert values_of(4, setting="tokenizer=subword/CLIP-BPE") == values_of(9)
    assert values_of(5, setting="tokenizer=OpenaiCLIP,V=49152") == values_of(9, image_tower="vit_l16")
    assert values_of(7) == values_of(9, image_tower="vit_b16")
    assert values_of(6, setting="loss=Softmax") < values_of(7, setting="idf=off")


def test_the_linear_probe_of_table_1_at_1b_samples_is_that_of_table_8_at_1280m() -> None:
    table_1, table_8 = published_table(1), published_table(8)
    of_1b = table_1[(table_1["image_tower"] == "vit_l16") & (table_1["samples_seen"] == 10**9)]
    largest = table_8[(table_8["method"] == "SuperClass") & (table_8["samples_seen"] == 1_280_000_000)]
    probe = largest[largest["metric"] == "imagenet_linear_probe_top1"]
    assert of_1b["value"].tolist() == probe["value"].tolist() == [82.6]


def test_what_the_paper_does_not_print_is_absent() -> None:
    assert published_table(11)["samples_seen"].isna().all()
    assert published_table(1)["global_batch"].isna().all()


def test_a_table_that_the_paper_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="table 13: the paper has Tables 1 to 12"):
        published_table(13)


@pytest.mark.skipif(not TRANSCRIPT.exists(), reason="the transcript is not beside this checkout")
def test_no_number_was_changed_on_the_way_from_the_transcript() -> None:
    transcript = pd.read_csv(TRANSCRIPT)
    ours = pd.concat([published_table(number) for number in TABLES])
    keys = ["table", "metric", "value"]
    expected = transcript[keys].sort_values(keys).to_numpy().tolist()
    assert ours[keys].sort_values(keys).to_numpy().tolist() == expected
