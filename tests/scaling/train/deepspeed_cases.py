"""What DeepSpeed engines are put through: layouts of the state, and small runs."""

from __future__ import annotations

from typing import Any

from engine_oracle import Case, objective_of

LAYOUTS: dict[str, dict[str, Any]] = {
    "0": {"zero_stage": 0},
    "1": {"zero_stage": 1},
    "2": {"zero_stage": 2},
    "3": {"zero_stage": 3},
    "1-optimizer": {"zero_stage": 1, "offload": "optimizer"},
    "2-optimizer": {"zero_stage": 2, "offload": "optimizer"},
    "3-optimizer": {"zero_stage": 3, "offload": "optimizer"},
    "3-all": {"zero_stage": 3, "offload": "all"},
}
"""ZeRO stages and what is offloaded."""

ON_ONE_RANK = ("0", "1", "3")


def layouts(num_ranks: int) -> list[str]:
    """Those that so many ranks run: one rank has nothing to shard, and the same code to run."""
    return list(LAYOUTS) if num_ranks > 1 else list(ON_ONE_RANK)


# the norms of all gradients are above what clips them, and those that nothing clips above 1
CASES = {
    "superclass": Case(micro_batch=4, learning_rate=1e-2),
    "accumulated": Case(micro_batch=2, gradient_clipping=0.5),
    "clip": Case(objective="clip", micro_batch=4),
    "cached": Case(objective="superclip", micro_batch=2, gradient_clipping=0.5),
}
"""Global batches of 8: one or two ranks accumulate over 2 or 4 and 1 or 2 micro-batches."""

LIT = Case(objective="lit", micro_batch=4, num_steps=4)
GROUPED = Case(
    image_tower="resnet_nano",
    image_size=32,
    micro_batch=4,
    num_steps=3,
    changes=(("batch_norm_samples", 4),),
)
HALF, END = 3, 6  # steps until a state is taken over, and in all


def bounded_objective() -> Any:
    """CLIP whose logit scale starts above its bound."""
    objective = objective_of(CASES["clip"])
    objective.logit_scale_max = 2.5
    return objective
