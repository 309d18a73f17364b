"""Expands a sweep into run points: complete, checked, and in the order in which they run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from scaling.confounds import refuse_confounds, refuse_mixed_engines
from scaling.cost import model_flops, num_steps
from scaling.hardware import Accelerator
from scaling.inputs.data_paths import DataPaths, resolve_data
from scaling.inputs.labels import TokenizerChoice
from scaling.inputs.point_files import resolve_files
from scaling.placement import PLACEMENT_AXES, Placement, PlacementSettings, place
from scaling.predicting.feasibility import solve
from scaling.spec import PLACEMENT_KEYS, EvaluateSection, Sweep, SweepError
from scaling.suggest import explain
from scaling.sweep.science import UNRESOLVED, Science, documented_defaults, run_id, trunk_id
from scaling.sweep.science_rules import has_effect

__all__ = [
    "DataPaths",
    "EvaluationPlan",
    "Placement",
    "RunPoint",
    "Science",
    "num_steps",
    "resolve_points",
    "run_id",
]

TASKS = ("held_out_loss", "linear_probe", "zero_shot", "retrieval")
"""The names in a sweep file."""

SCORED_BY_HEAD = {"zero_shot": "zero_shot_head", "retrieval": "retrieval_head"}
"""What a record calls a task of an objective without a text tower: its scores are those of the label head."""

NEED_LABELS = ("linear_probe", "zero_shot")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EvaluationPlan(_Frozen):
    """What is measured on a point, by the names used in records."""

    tasks: tuple[str, ...]
    batch: int = 256  # samples; also the number of captions among which CLIP's held-out loss decides
    held_out_every_samples: int = 0  # of training; 0 = only at the end


class RunPoint(_Frozen):
    """One run, complete: what it learns from, where it runs, what is measured."""

    sweep: str
    run_id: str
    science: Science
    data: DataPaths
    placement: Placement
    evaluation: EvaluationPlan
    trunk: str | None = None  # shared with runs that it is one with until they decay (schedule wsd)

    @property
    def tokenizer(self) -> TokenizerChoice:
        """The tokenizer of the point, with its file."""
        return TokenizerChoice(name=self.science.tokenizer, vocabulary=self.data.vocabulary)

    @property
    def is_provisional(self) -> bool:
        """Whether the point was resolved without some of its data, so that its run_id will still change."""
        return bool(self.unresolved)

    @property
    def unresolved(self) -> tuple[str, ...]:
        """The keys of the sweep whose files were absent when the point was resolved."""
        science = self.science
        contents = {
            "data.train": science.data_digest,
            f"data.vocabularies.{science.tokenizer}": science.vocabulary_digest,
            f"data.label_counts.{science.tokenizer}": science.label_counts_digest,
            "image_init": science.image_init,
        }
        return tuple(key for key, content in contents.items() if UNRESOLVED in content)


def resolve_points(
    sweep: Sweep,
    *,
    num_ranks: int,
    require_data: bool = True,
    ranks_per_node: int | None = None,
    device: Accelerator | None = None,
) -> list[RunPoint]:
    """Every point of a sweep, cheapest first; SweepError naming file, key, rule and fix.

    Without `require_data`, points whose training set is absent are provisional.  Equal points count once.  If a
    `device` is given, placement fields that the file leaves open get the fastest values that fit it.
    """
    try:
        data, digest = resolve_data(sweep.data, require_data)
        points = [
            _point(
                sweep,
                values,
                data,
                digest,
                num_ranks=num_ranks,
                ranks_per_node=ranks_per_node,
                require_data=require_data,
                device=device,
            )
            for values in _spread(sweep)
        ]
        if not points:
            raise SweepError("no point is left: the skip rules drop all of them.")
        axes = {*sweep.vary, "seed"} if len(sweep.seeds) > 1 else {*sweep.vary}
        refuse_confounds([point.science for point in points], axes)
        refuse_mixed_engines([point.placement for point in points], axes)
    except ValueError as error:
        raise SweepError(f"{sweep.path}: {error}") from error
    unique = {point.run_id: point for point in reversed(points)}
    return sorted(unique.values(), key=lambda point: (model_flops(point.science), point.run_id))


def _spread(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """The values written for each point: the product of the axes and the extra points, without the skipped ones.

    A field under `fixed` applies to the points on which it has an effect; one without effect on any is refused.
    """
    product = [
        dict(zip(sweep.vary, values, strict=True)) for values in itertools.product(*sweep.vary.values())
    ]
    written = [*(product if sweep.vary or not sweep.also else []), *sweep.also]
    idle = set(sweep.fixed)
    for values, seed in itertools.product(written, sweep.seeds):
        asked = {**sweep.fixed, "seed": seed, **values}
        _check_complete(asked)
        used = {key: value for key, value in sweep.fixed.items() if has_effect(key, asked)}
        idle -= used.keys() | values.keys()
        point = {**used, "seed": seed, **values}
        if not any(_matches(rule, point) for rule in sweep.skip):
            yield point
    if idle:
        raise SweepError(f"fixed.{min(idle)} has no effect on any point of this sweep: leave it out.")


def _check_complete(point: Mapping[str, Any]) -> None:
    for key, info in Science.model_fields.items():
        if info.is_required() and key not in point:
            raise SweepError(
                f"{key} is missing: write it under vary or fixed (a point under also takes only fixed)."
            )


def _matches(rule: Mapping[str, tuple[Any, ...]], point: Mapping[str, Any]) -> bool:
    effective = {**documented_defaults(point), **point}
    return all(effective[key] in values for key, values in rule.items())


def _point(
    sweep: Sweep,
    values: dict[str, Any],
    data: DataPaths,
    digest: str,
    *,
    num_ranks: int,
    ranks_per_node: int | None,
    require_data: bool,
    device: Accelerator | None,
) -> RunPoint:
    written = {key: value for key, value in values.items() if key not in PLACEMENT_KEYS}
    settings = PlacementSettings.model_validate({key: values[key] for key in values.keys() & PLACEMENT_KEYS})
    try:
        read, files = resolve_files(written, sweep.data, require_data=require_data)
        science = Science.model_validate({**written, **read, "data_digest": digest})
        if device is None:
            placement = place(science, settings, num_ranks=num_ranks, ranks_per_node=ranks_per_node)
        else:
            placement = solve(science, settings, device, num_ranks, ranks_per_node=ranks_per_node)
    except ValidationError as error:
        raise SweepError(f"{_describe(sweep, values)}: {explain(error)}") from error
    except ValueError as error:
        raise SweepError(f"{_describe(sweep, values)}: {error}") from error
    compared = {axis: getattr(placement, axis) for axis in sweep.vary if axis in PLACEMENT_AXES}
    return RunPoint(
        sweep=sweep.name,
        run_id=run_id(science, compared),
        science=science,
        data=data.model_copy(update=files),
        placement=placement,
        evaluation=_evaluation(sweep.evaluate, science, sweep.data.labelled is not None),
        trunk=trunk_id(science, compared),
    )


def _describe(sweep: Sweep, values: Mapping[str, Any]) -> str:
    told = {"objective", "image_tower", *sweep.vary, *(key for extra in sweep.also for key in extra)}
    return "point " + ", ".join(f"{key}={value}" for key, value in values.items() if key in told)


def _evaluation(section: EvaluateSection, science: Science, has_labels: bool) -> EvaluationPlan:
    """The tasks by their recorded names; those that need labels run by default only where labels are."""
    for task in section.tasks or ():
        if task in NEED_LABELS and not has_labels:
            raise SweepError(
                f"evaluate.tasks: {task} needs a labelled set: set data.labelled, or drop the task."
            )
    asked: tuple[str, ...] | None = section.tasks
    if asked is None:
        asked = tuple(task for task in TASKS if has_labels or task not in NEED_LABELS)
    has_text_tower = science.specification.kind.contrasts is not None
    return EvaluationPlan(
        tasks=tuple(
            dict.fromkeys(task if has_text_tower else SCORED_BY_HEAD.get(task, task) for task in asked)
        ),
        batch=section.batch,
        held_out_every_samples=section.held_out_every_samples,
    )
