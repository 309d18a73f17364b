"""Runs trained with open_clip, as one raw table.

open_clip writes logs/<name>/params.txt (one "argument: value" per line) and, with every evaluation, a line to
logs/<name>/checkpoints/results.jsonl: epoch and scores such as imagenet-zeroshot-val-top1. Its `num_samples` counts
evaluated samples, not trained ones: those are epochs x train_num_samples, an argument.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.imports.json_lines import json_lines

RESULTS = "results.jsonl"
ARGUMENTS = "params.txt"


def open_clip_table(path: Path) -> pd.DataFrame:
    """One row per run and evaluated epoch: scores, epoch, samples_seen, and every argument as params.<argument>.

    `path` is a results.jsonl, the folder of a run, or a folder of runs. Of an epoch evaluated twice the later score
    counts. ValueError names a run without params.txt or train_num_samples, or a line that does not parse.
    """
    files = sorted(path.rglob(RESULTS)) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path}: no {RESULTS} below it; give the folder of logs of open_clip.")
    return pd.DataFrame([row for file in files for row in _run_rows(file)])


def _run_rows(results: Path) -> list[dict[str, object]]:
    arguments = _arguments(results)
    per_epoch = arguments.get("train_num_samples", "None")
    if not per_epoch.isdigit():
        raise ValueError(
            f"{_arguments_file(results)}: train_num_samples is {per_epoch!r}; the samples seen are epoch x "
            "train_num_samples: write the number of samples of an epoch there."
        )
    epochs: dict[object, dict[str, object]] = {}
    for where, row in json_lines(results):
        if not isinstance(row.get("epoch"), (int, float)):
            raise ValueError(f"{where}: no epoch; open_clip writes one with every evaluation.")
        epochs.setdefault(row["epoch"], {}).update(row)
    stated = {f"params.{name}": value for name, value in arguments.items()}
    return [
        row | stated | {"samples_seen": float(str(epoch)) * int(per_epoch)} for epoch, row in epochs.items()
    ]


def _arguments_file(results: Path) -> Path:
    folder = results.parent
    return (folder.parent if folder.name == "checkpoints" else folder) / ARGUMENTS


def _arguments(results: Path) -> dict[str, str]:
    file = _arguments_file(results)
    if not file.is_file():
        raise ValueError(
            f"{results}: no {file}; open_clip writes it at the start of a run, and samples and tower are read there."
        )
    pairs = (line.partition(": ") for line in file.read_text().splitlines())
    return {name.strip(): value.strip() for name, separator, value in pairs if separator}
