"""Every evaluator by the name that records give it.  A new one is one file and one line here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from scaling.evaluate.context import EvaluationContext, Outcome
from scaling.evaluate.held_out import held_out_loss
from scaling.evaluate.linear_probe import linear_probe
from scaling.evaluate.retrieval import retrieval, retrieval_head
from scaling.evaluate.zero_shot import zero_shot, zero_shot_head
from scaling.records import Evaluation
from scaling.suggest import did_you_mean

TASKS: Mapping[str, Callable[[EvaluationContext], Outcome | None]] = MappingProxyType(
    {
        "held_out_loss": held_out_loss,
        "linear_probe": linear_probe,
        "zero_shot": zero_shot,
        "zero_shot_head": zero_shot_head,
        "retrieval": retrieval,
        "retrieval_head": retrieval_head,
    }
)


def run_tasks(names: Sequence[str], context: EvaluationContext) -> Iterator[Evaluation]:
    """One evaluation after the other, on rank 0; nothing on the other ranks, which must iterate all the same.

    Raises ValueError for an unknown task, and for one that lacks its data or its part of the model.
    """
    for name in names:
        if name not in TASKS:
            raise ValueError(f"unknown task {name!r}. {did_you_mean(name, TASKS)}")
    was_training = context.objective.training
    context.objective.eval()
    try:
        for name in names:
            start = time.perf_counter()
            outcome = TASKS[name](context)
            if outcome is not None and context.ranks.is_main:
                yield _evaluation(name, outcome, context, time.perf_counter() - start)
    finally:
        context.objective.train(was_training)


def _evaluation(name: str, outcome: Outcome, context: EvaluationContext, seconds: float) -> Evaluation:
    return Evaluation(
        task=name,
        protocol=outcome.protocol,
        metrics=outcome.metrics,
        num_samples=outcome.num_samples,
        samples_seen=context.samples_seen,
        seconds=seconds,
        settings={**outcome.settings, "image_size": context.specification.image_size},
    )
