"""The moments of an optimizer step at which a rank's memory may peak, and what it holds at each.  No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from model_zoo.activation_segments import FP32
from model_zoo.activation_timeline import Moment, Timeline, activation_timeline
from model_zoo.loss_memory import LossMemory, encoded_elements, loss_memory
from scaling.placement import Placement
from scaling.predicting.state_memory import StateMemory, count_elements, state_memory
from scaling.predicting.workload import Workload

LABEL_STATISTICS = 3 * 8 + 2 * 4  # bytes per label: int64 counts, deltas and sums; weights (train/idf.py)

MomentName = Literal["forward", "backward", "step"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMemory:
    """What the memory of one optimizer step of one rank depends on."""

    micro_batch: int
    caches_features: bool  # encodes all micro-batches before it takes their loss
    keeps_head_gradient: bool  # from forward on
    keeps_gradient_buffer: bool  # from step to step
    num_trained: int  # elements
    state: StateMemory
    timeline: Timeline
    loss: LossMemory
    features: int  # bytes of cached features and their gradients
    statistics: int  # bytes of label statistics
    offloaded_activations: int


def step_memory(workload: Workload, placement: Placement, on_accelerator: bool) -> StepMemory:
    """The step of one rank under a placement."""
    specification, arithmetic = workload.specification, workload.arithmetic(on_accelerator=on_accelerator)
    mode, every = placement.activation_checkpointing, placement.activation_checkpointing_every
    timeline = activation_timeline(specification, mode, every, arithmetic)
    per_rank = workload.global_batch // placement.num_ranks
    caches = specification.couples_samples and per_rank > placement.micro_batch
    samples = per_rank if caches else placement.micro_batch
    recomputes = placement.head_recompute or specification.classification_loss == "two_way"
    return StepMemory(
        micro_batch=placement.micro_batch,
        caches_features=caches,
        keeps_head_gradient=specification.kind.classifies and not recomputes,
        keeps_gradient_buffer=placement.engine == "deepspeed" and placement.zero_stage == 3,
        num_trained=count_elements(specification).trained,
        state=state_memory(workload, placement),
        timeline=timeline,
        loss=loss_memory(specification, arithmetic, samples=samples, num_ranks=placement.num_ranks),
        features=2 * per_rank * encoded_elements(specification) * FP32 if caches else 0,
        statistics=specification.vocabulary_size * LABEL_STATISTICS if specification.kind.classifies else 0,
        offloaded_activations=timeline.offloaded * placement.micro_batch,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class MomentMemory:
    """The bytes that differ from moment to moment."""

    moment: MomentName
    gradients: int = 0
    activations: int = 0
    logits: int = 0
    similarity_matrix: int = 0
    buffers: int = 0
    communication: int = 0

    def sum(self) -> int:
        """Bytes that differ, all classes."""
        products = self.activations + self.logits + self.similarity_matrix
        return self.gradients + products + self.buffers + self.communication


def moments(step: StepMemory) -> Iterator[MomentMemory]:
    """The moments at which the peak may be."""
    yield _taking_the_loss(step)
    if step.caches_features or not step.timeline.trains_all:
        yield _encoding_without_gradient(step)
    yield _pulling_back_the_loss(step)
    yield from _in_backward(step)
    yield MomentMemory(
        moment="step",
        gradients=step.state.gradients_in_step,
        buffers=step.statistics,
        communication=step.state.communication_in_step,
    )


def _taking_the_loss(step: StepMemory) -> MomentMemory:
    own = step.loss.head_gradient if step.keeps_head_gradient else 0
    return MomentMemory(
        moment="forward",
        gradients=_gradients_before_loss(step) + own,
        activations=_activations(step, step.timeline.encoded),
        logits=step.loss.logits,
        similarity_matrix=step.loss.similarity_forward,
        buffers=step.statistics + step.timeline.images * step.micro_batch,
        communication=step.state.communication_forward + step.loss.gathered,
    )


def _encoding_without_gradient(step: StepMemory) -> MomentMemory:
    return MomentMemory(
        moment="forward",
        gradients=_gradients_before_loss(step),
        activations=_activations(step, step.timeline.without_gradient),
        buffers=step.statistics + step.timeline.images * step.micro_batch,
        communication=step.state.communication_forward,
    )


def _pulling_back_the_loss(step: StepMemory) -> MomentMemory:
    return MomentMemory(
        moment="backward",
        gradients=_gradients_before_loss(step) + step.loss.head_gradient,
        activations=_activations(step, step.timeline.pulled_back),
        logits=0 if step.keeps_head_gradient else step.loss.logits,
        similarity_matrix=step.loss.similarity_backward,
        buffers=step.statistics,
        communication=step.state.communication_forward + step.loss.gathered,
    )


def _in_backward(step: StepMemory) -> Iterator[MomentMemory]:
    for moment in step.timeline.backward:
        yield MomentMemory(
            moment="backward",
            gradients=_gradients_in_backward(step, moment),
            activations=_activations(step, moment),
            buffers=step.statistics,
            communication=step.state.communication_backward,
        )


def _gradients_in_backward(step: StepMemory, moment: Moment) -> int:
    own, state = 0 if step.caches_features else step.loss.head_gradient, step.state
    if state.gradients_grow:
        share = state.gradients / step.num_trained  # of a parameter's gradient, what stays on this rank
        return own + int(moment.differentiated * share)
    if state.first_bucket:  # the loss's own is copied into it first
        came_before = own if moment is step.timeline.backward[0] else 0
        is_full = own // FP32 + moment.differentiated > state.first_bucket
        return came_before + (state.gradients if is_full else 0)
    return own + state.gradients


def _activations(step: StepMemory, moment: Moment) -> int:
    return moment.bytes_per_sample * step.micro_batch + moment.fixed_bytes + step.features


def _gradients_before_loss(step: StepMemory) -> int:
    """The loss over cached features is taken once, before any gradient of this step is there."""
    return 0 if step.caches_features and not step.keeps_gradient_buffer else step.state.gradients_before
