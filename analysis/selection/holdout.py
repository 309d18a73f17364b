"""The sealed holdout: the largest runs of a study, never fitted until they are opened on record.

A prediction made before its outcome is known is worth more than any in-sample score.  The sweep file names the cells
and the plan lists their runs, whose scores are taken out before anything is fitted or shown; `unsealed.jsonl` beside
the runs says who opened them and when.
"""

from __future__ import annotations

import dataclasses
import datetime
import getpass
import json
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from analysis.fitting.fit import Fit
from analysis.fitting.observations import Observations
from analysis.load import metric_columns
from analysis.selection.forward import LEVEL, prediction_interval
from scaling.records import append_lines

UNSEALED_FILE = "unsealed.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """One unsealing, as recorded."""

    opened_at: str  # UTC, ISO 8601
    opened_by: str
    run_ids: tuple[str, ...]  # of the holdout
    finished: tuple[str, ...]  # those of them that were finished by then


def openings(runs: Path) -> tuple[Opening, ...]:
    """Every recorded unsealing of the sweep folder, oldest first."""
    path = runs / UNSEALED_FILE
    if not path.exists():
        return ()
    lines = enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
    return tuple(_opening(line, f"{path}, line {number}") for number, line in lines if line.strip())


def _opening(line: str, place: str) -> Opening:
    try:
        row = json.loads(line)
        return Opening(**row | {"run_ids": tuple(row["run_ids"]), "finished": tuple(row["finished"])})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{place}: not the record of an opening ({error!r}); restore it: without it nobody knows which runs are "
            "sealed."
        ) from error


def sealed_runs(runs: Path, holdout: Collection[str]) -> frozenset[str]:
    """Run ids of the sweep folder's holdout that no recorded opening names."""
    return frozenset(holdout) - {run_id for opening in openings(runs) for run_id in opening.run_ids}


def blinded(table: pd.DataFrame, sealed: Collection[str]) -> pd.DataFrame:
    """The table of a sweep without what its sealed runs scored: no table, figure or event can tell it."""
    told = [*metric_columns(table), *(name for name in ("final_loss",) if name in table)]
    masked = table[told].mask(table["run_id"].isin(list(sealed)))
    return table.assign(**{name: masked[name] for name in told})


def unseal(runs: Path, holdout: Collection[str], finished: Collection[str]) -> Opening:
    """The record of an unsealing, appended to the sweep folder before any sealed run is read by a fit."""
    opening = Opening(
        opened_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        opened_by=getpass.getuser(),
        run_ids=tuple(holdout),
        finished=tuple(run_id for run_id in holdout if run_id in finished),
    )
    append_lines(runs / UNSEALED_FILE, [dataclasses.asdict(opening)])
    return opening


def predicted_and_measured(fit: Fit, sealed: Observations, level: float = LEVEL) -> pd.DataFrame:
    """run_id, train_flops, predicted, lower, upper, measured, inside: the holdout against a fit that never saw it."""
    predicted_N, lower_N, upper_N = prediction_interval(fit, sealed, level)
    return pd.DataFrame(
        {
            "run_id": sealed.run_ids,
            "train_flops": sealed.covariates["train_flops"],
            "predicted": predicted_N,
            "lower": lower_N,
            "upper": upper_N,
            "measured": sealed.error_N,
            "inside": (lower_N <= sealed.error_N) & (sealed.error_N <= upper_N),
        }
    )
