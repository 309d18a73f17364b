"""The evaluations that a point asks for, run by the ranks that trained it."""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.distributed as dist

from scaling.data.image_folder import open_labelled_set
from scaling.data.indexed import IndexedDataset
from scaling.data.labelled import LabelledSet
from scaling.data.text.tokenizers import load_tokenizer
from scaling.evaluate.context import EvaluationContext
from scaling.evaluate.features import Ranks
from scaling.evaluate.tasks import run_tasks
from scaling.points import RunPoint
from scaling.processes.ranks import Rank
from scaling.records import Evaluation, RunDirectory
from scaling.train.assembly import caption_settings
from scaling.train.collectives import reduce_in_place
from scaling.train.engines.protocol import Engine
from scaling.train.idf import LabelStatistics


class Evaluator:
    """Evaluates the objective as it stands; every method is called by all ranks together."""

    def __init__(
        self,
        point: RunPoint,
        run: RunDirectory,
        engine: Engine,
        statistics: LabelStatistics,
        *,
        rank: Rank,
        barrier: Callable[[], None],
    ) -> None:
        self._point = point
        self._run = run
        self._engine = engine
        self._statistics = statistics
        self._rank = rank
        self._barrier = barrier
        self._scratch = run.path / "evaluation-parts"  # on the run's file system, which all ranks see

    def held_out_loss(self, samples_seen: int) -> float | None:
        """The held-out loss now, on rank 0; None on the others."""
        found = list(self._run_tasks(["held_out_loss"], samples_seen))
        return found[0].metrics["loss"] if found else None

    def run_missing_tasks(self, samples_seen: int) -> None:
        """Run what the point asks for and an earlier attempt did not finish, and append each result at once."""
        for evaluation in self._run_tasks(self._missing(samples_seen), samples_seen):
            self._run.append(self._run.evaluations, [evaluation.model_dump(mode="json")])
        if self._rank.is_main:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _missing(self, samples_seen: int) -> list[str]:
        """The tasks to run, as rank 0 sees them: the ranks must agree, and a file may show late on another machine."""
        done = {
            task for task, row in self._run.read_evaluations().items() if row.samples_seen == samples_seen
        }
        missing = [[task for task in self._point.evaluation.tasks if task not in done]]
        dist.broadcast_object_list(missing, src=0, device=self._engine.device)
        return missing[0]

    def _run_tasks(self, tasks: Sequence[str], samples_seen: int) -> Iterator[Evaluation]:
        """Yields on rank 0."""
        return run_tasks(tasks, self._context(samples_seen))

    @functools.cached_property
    def _validation(self) -> IndexedDataset:
        return IndexedDataset(self._point.data.validation)

    @functools.cached_property
    def _labelled(self) -> LabelledSet | None:
        folder = self._point.data.labelled
        return None if folder is None else open_labelled_set(folder)

    def _context(self, samples_seen: int) -> EvaluationContext:
        point, science = self._point, self._point.science
        self._scratch.mkdir(exist_ok=True)
        return EvaluationContext(
            objective=self._engine.whole_objective(),
            specification=science.specification,
            tokenizer=load_tokenizer(point.tokenizer),
            pixel_statistics=science.pixel_statistics,
            captions=caption_settings(science),
            batch=point.evaluation.batch,
            samples_seen=samples_seen,
            device=self._engine.device,
            validation=self._validation,
            labelled=self._labelled,
            label_weights_V=self._statistics.label_weights(),
            ranks=Ranks(
                scratch=self._scratch,
                rank=self._rank.rank,
                num_ranks=self._rank.num_ranks,
                barrier=self._barrier,
            ),
            all_reduce=reduce_in_place,
            autocast=functools.partial(_autocast, self._engine.device.type, science.precision),
            num_threads=max(1, point.placement.num_workers),
        )


def _autocast(device_type: str, precision: str) -> contextlib.AbstractContextManager[object]:
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device_type, dtype=torch.bfloat16)
