"""Memory of activations at those moments of a training step that may be its peak.  No torch.

Forward adds what each segment of each tower keeps; at its end the loss is taken.  Backward then goes through the
segments from the last to the first: it recomputes what checkpointing did not keep, differentiates the segment and frees
it, while gradients of weights appear.  At each moment memory is a constant plus a number of bytes per sample of the
micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from model_zoo.activation_counts import image_tower_segments, text_tower_segments
from model_zoo.activation_segments import FP32, ActivationCheckpointing, Arithmetic, Segment
from model_zoo.specification import ObjectiveSpecification
from model_zoo.tower_shapes import IMAGE_CHANNELS


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """The activations that exist at one moment."""

    bytes_per_sample: int
    fixed_bytes: int  # bfloat16 copies of weights, and one weight's gradient before it becomes float32
    differentiated: int  # elements of the towers' parameters that have their gradient by now


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """The moments of one step of an objective's towers."""

    encoded: Moment  # the end of forward, when the loss is taken
    pulled_back: Moment  # the start of backward, while the loss itself is differentiated
    backward: tuple[Moment, ...]  # one per segment, last to first
    without_gradient: Moment  # the peak of a forward pass that keeps nothing
    trains_all: bool  # no tower is locked
    offloaded: int  # bytes per sample that wait in the CPU's memory
    # bytes per sample of the float32 images that exist while forward runs; 0 where a segment's `kept` has them
    images: int


@lru_cache(maxsize=512)
def block_elements(specification: ObjectiveSpecification) -> tuple[int, ...]:
    """Number of parameters of each block of the towers, in the order they run."""
    image, text = _segments(specification, Arithmetic(bf16_autocast=False))
    return tuple(segment.parameters for segment in (*image, *text) if segment.is_block)


@lru_cache(maxsize=512)
def activation_timeline(
    specification: ObjectiveSpecification,
    mode: ActivationCheckpointing,
    every: int,
    arithmetic: Arithmetic,
) -> Timeline:
    """The timeline of the objective's towers when blocks 0, `every`, 2 x `every`, ... recompute in `mode`."""
    image, text = _segments(specification, arithmetic)
    locked = specification.kind.locks_image_tower
    trained = [*([] if locked else _with_modes(image, mode, every)), *_with_modes(text, mode, every)]
    images = IMAGE_CHANNELS * specification.image_size**2 * FP32
    kept = sum(segment.kept_by(chosen) for segment, chosen in trained)
    weights = sum(segment.weights for segment, chosen in trained if chosen == "none")
    # autocast frees its copies of weights when forward ends, except those that a segment keeps for backward
    copies = sum(segment.weights for segment, _ in trained)
    return Timeline(
        encoded=Moment(bytes_per_sample=kept, fixed_bytes=copies, differentiated=0),
        pulled_back=Moment(bytes_per_sample=kept, fixed_bytes=weights, differentiated=0),
        backward=_backward(trained),
        without_gradient=Moment(
            bytes_per_sample=max(segment.forward for segment in (*image, *text)),
            fixed_bytes=0 if locked else sum(segment.weights for segment in (*image, *text)),
            differentiated=0,
        ),
        trains_all=not locked,
        offloaded=sum(segment.input for segment, chosen in trained if chosen == "offload"),
        # in float32 the first convolution keeps them
        images=images if arithmetic.bf16_autocast or locked else 0,
    )


def _segments(
    specification: ObjectiveSpecification, arithmetic: Arithmetic
) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    image = image_tower_segments(
        specification.image,
        arithmetic,
        image_size=specification.image_size,
        pooling=specification.pooling,
        patch_dropout=specification.patch_dropout,
    )
    if specification.text is None:
        return image, ()
    text = text_tower_segments(
        specification.text,
        arithmetic,
        vocabulary_size=specification.vocabulary_size,
        context_length=specification.context_length,
    )
    return image, text


def _with_modes(
    segments: tuple[Segment, ...], mode: ActivationCheckpointing, every: int
) -> list[tuple[Segment, ActivationCheckpointing]]:
    """Each segment with its mode: `mode` for blocks 0, `every`, 2 x `every`, ..., otherwise "none"."""
    modes: list[ActivationCheckpointing] = []
    num_blocks = 0
    for segment in segments:
        modes.append(mode if segment.is_block and num_blocks % every == 0 else "none")
        num_blocks += segment.is_block
    return list(zip(segments, modes, strict=True))


def _backward(trained: list[tuple[Segment, ActivationCheckpointing]]) -> tuple[Moment, ...]:
    kept = sum(segment.kept_by(chosen) for segment, chosen in trained)
    weights = sum(segment.weights for segment, chosen in trained if chosen == "none")
    differentiated, moments = 0, []
    for segment, chosen in reversed(trained):
        held = segment.kept if chosen == "none" else segment.recomputed
        own_weights = 0 if chosen == "none" else segment.weights
        moments.append(
            Moment(
                bytes_per_sample=kept - segment.kept_by(chosen) + held + segment.backward,
                fixed_bytes=weights + own_weights + segment.weight_gradient,
                differentiated=differentiated,
            )
        )
        kept -= segment.kept_by(chosen)
        weights -= segment.weights - own_weights
        differentiated += segment.parameters
    return tuple(moments)
