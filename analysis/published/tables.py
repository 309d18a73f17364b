"""Tables 1-12 of the SuperClass paper (arXiv:2411.03313; NeurIPS 2024, volume 37, pages 96483-96504), tidy."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

PAPER = "arXiv:2411.03313 (NeurIPS 2024, 37:96483-96504)"
FILE = Path(__file__).with_name("superclass_tables.csv")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PrintedTable:
    """What a table of the paper holds."""

    title: str
    num_values: int
    note: str = ""  # what a reader must know before using its numbers


TABLES: Mapping[int, PrintedTable] = MappingProxyType(
    {
        1: PrintedTable(
            title="ImageNet linear probe of frozen image towers, other methods included",
            num_values=21,
            note="samples_seen as printed: SuperClass at 1B is the run of 1.28B samples of Table 8",
        ),
        2: PrintedTable(
            title="10-shot classification: ImageNet, Pets, Cars",
            num_values=30,
            note="*_std: standard deviation over draws of the shots, not over trained runs",
        ),
        3: PrintedTable(
            title="ImageNet zero-shot, and captioning on COCO",
            num_values=7,
            note="13B samples with a global batch of 90,112 (stated for CLIP-reimpl)",
        ),
        4: PrintedTable(title="Words against subwords as classes", num_values=72),
        5: PrintedTable(
            title="Subword tokenizers",
            num_values=36,
            note="vocabulary sizes as printed; CLIP's has 49,408 entries, BERT's WordPiece 30,522",
        ),
        6: PrintedTable(
            title="Classification losses",
            num_values=10,
            note="softmax equals Table 7 without IDF weights: the losses were compared without them",
        ),
        7: PrintedTable(title="IDF weights and stop words", num_values=36),
        8: PrintedTable(title="Data scaling: ViT-L/16 at 128M, 512M and 1.28B samples", num_values=72),
        9: PrintedTable(title="Model scaling: ViT-S/16, B/16 and L/16 at 512M samples", num_values=72),
        10: PrintedTable(title="Convolutional towers at 1.28B samples", num_values=8),
        11: PrintedTable(
            title="Vision-language tasks with frozen image towers, other methods included",
            num_values=40,
            note="samples seen are not printed",
        ),
        12: PrintedTable(title="ImageNet fine-tuning", num_values=3, note="recipe not printed"),
    }
)


def published_table(number: int) -> pd.DataFrame:
    """One row per printed number: table, method, setting, image_tower, samples_seen, global_batch, metric, unit, value.

    And `source`. What the paper does not print is absent (<NA>, or "" of a setting), never filled in; ValueError for a
    number other than 1 to 12.
    """
    if number not in TABLES:
        raise ValueError(f"table {number}: the paper has Tables 1 to 12; give one of them.")
    rows = _every_row()
    return rows[rows["table"] == number].reset_index(drop=True).copy()


@functools.cache
def _every_row() -> pd.DataFrame:
    absent = {"samples_seen": [""], "global_batch": [""]}
    rows = pd.read_csv(FILE, keep_default_na=False, na_values=absent)
    rows = rows.astype({"samples_seen": "Int64", "global_batch": "Int64"})
    rows["source"] = [f"{PAPER}, Table {number}" for number in rows["table"]]
    return rows
