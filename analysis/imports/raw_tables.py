"""Foreign results as they are: every column as it stands in the file, nothing renamed, nothing converted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.imports.json_lines import json_lines
from analysis.imports.mapping import Profile, ResultsMapping, did_you_mean
from analysis.imports.open_clip_logs import open_clip_table

SUFFIXES = {".csv": "csv", ".csv.gz": "csv", ".parquet": "parquet", ".jsonl": "jsonl"}


def raw_table(path: Path, mapping: ResultsMapping, profile: Path | None = None) -> pd.DataFrame:
    """The rows of the results with, where the mapping has one, the profile's columns as profile.<column>.

    ValueError for a file that is missing, empty or of an unknown kind.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder; give the results to import.")
    table = _read(path, mapping.format or _format(path))
    if table.empty:
        raise ValueError(f"{path}: no rows; there is nothing to import.")
    return table if mapping.profile is None else _with_profile(table, path, mapping.profile, profile)


def _format(path: Path) -> str:
    for suffix, name in SUFFIXES.items():
        if path.name.endswith(suffix):
            return name
    raise ValueError(f"{path}: unknown kind of file; name it {', '.join(SUFFIXES)}, or state `format`.")


def _read(path: Path, kind: str) -> pd.DataFrame:
    if kind == "open_clip_logs":
        return open_clip_table(path)
    if kind == "jsonl":
        return pd.DataFrame(row for _, row in json_lines(path))
    try:
        return pd.read_parquet(path) if kind == "parquet" else pd.read_csv(path)
    except (ValueError, ImportError) as error:
        raise ValueError(f"{path}: not {kind}: {' '.join(str(error).split())}.") from error


def _with_profile(table: pd.DataFrame, path: Path, profile: Profile, given: Path | None) -> pd.DataFrame:
    folder = path if path.is_dir() else path.parent
    places = [given] if given is not None else [folder / name for name in profile.files]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ValueError(
            f"{path}: sizes and costs of the towers are wanted from {' or '.join(map(str, places))}, which does "
            "not exist; put it there or give its path as `profile`."
        )
    if profile.of not in table:
        raise ValueError(f"{path}: no column {profile.of!r}{did_you_mean(profile.of, table.columns)}.")
    towers = pd.read_csv(found)
    if profile.key not in towers:
        raise ValueError(f"{found}: no column {profile.key!r}{did_you_mean(profile.key, towers.columns)}.")
    unknown = sorted(set(table[profile.of].dropna().astype(str)) - set(towers[profile.key].astype(str)))
    if unknown:
        raise ValueError(
            f"{found}: column {profile.key!r} lacks {unknown[0]!r}, a {profile.of} of {path.name}"
            f"{did_you_mean(unknown[0], towers[profile.key].astype(str), known=False)}; add its row."
        )
    repeated = towers[profile.key].duplicated()
    if repeated.any():
        name = towers[profile.key][repeated].iloc[0]
        raise ValueError(f"{found}: {name!r} stands twice in column {profile.key!r}; keep one row.")
    towers = towers.add_prefix("profile.")
    return table.merge(towers, how="left", left_on=profile.of, right_on=f"profile.{profile.key}")
