"""What the engines can shard, recompute and move to the CPU, and the rules between these choices."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

EngineName = Literal["deepspeed", "fsdp"]

Offload = Literal["none", "optimizer", "all"]
"""What waits in the CPU's memory: nothing; AdamW's states, whose step runs there; these and the parameters."""

ZERO_STAGES: Mapping[EngineName, tuple[int, ...]] = MappingProxyType(
    {"deepspeed": (0, 1, 2, 3), "fsdp": (2, 3)}
)
"""0: nothing is sharded, 1: optimizer states, 2: and gradients, 3: and parameters (ZeRO, arXiv 1910.02054). FSDP2 keeps
whole parameters from forward to backward (2) or gathers them twice (3)."""

_USUAL_STAGE: Mapping[EngineName, int] = MappingProxyType({"deepspeed": 1, "fsdp": 3})


def open_zero_stages(engine: EngineName, *, offload: Offload, compiled: bool) -> list[int]:
    """The stages that may be chosen where none is written: those that train alike and that `resolve_zero_stage` takes.

    Stage 0 is there for who asks for it.
    """
    lowest = 3 if offload == "all" else 1
    highest = 2 if compiled and engine == "deepspeed" else 3
    return [stage for stage in ZERO_STAGES[engine] if lowest <= stage <= highest]


def resolve_zero_stage(
    engine: EngineName, asked: int | None, *, offload: Offload, precision: str, compiled: bool
) -> int:
    """The stage as asked or the engine's usual one; ValueError where the engine lacks it or would train differently."""
    usual = 3 if offload == "all" else _USUAL_STAGE[engine]
    stage = usual if asked is None else asked
    if stage not in ZERO_STAGES[engine]:
        raise ValueError(
            f"zero_stage ({stage}) is none of {', '.join(map(str, ZERO_STAGES[engine]))}, which engine {engine} has: "
            "use one of them, or the other engine."
        )
    if stage == 0 and precision != "fp32":
        raise ValueError(
            f"zero_stage (0) needs precision fp32, not {precision}: DeepSpeed's stage 0 then makes a hidden Adam step "
            "at its start. Use zero_stage 1."
        )
    if compiled and (engine, stage) == ("deepspeed", 3):
        raise ValueError(
            "compile (true) with engine deepspeed and zero_stage 3: its hooks break every block's graph. Use engine "
            "fsdp, another stage, or leave compile out."
        )
    if offload == "all" and stage < 3:
        raise ValueError(f"offload (all) needs zero_stage 3, not {stage}: use it, or offload: optimizer.")
    if offload == "optimizer" and engine != "deepspeed":
        raise ValueError(
            f"offload (optimizer) needs engine deepspeed, not {engine}: use it, or offload: all."
        )
    if offload == "optimizer" and stage == 0:
        raise ValueError("offload (optimizer) needs zero_stage 1 to 3, not 0: use one of them.")
    return stage


def resolve_shard_ranks(engine: EngineName, asked: int | None, num_ranks: int) -> int:
    """The ranks of a shard group, all unless asked otherwise; ValueError where the engine cannot have such groups."""
    if asked is None or asked == num_ranks:
        return num_ranks
    if engine != "fsdp":
        raise ValueError(
            f"shard_ranks ({asked}) needs engine fsdp, not {engine}: use it, or leave shard_ranks out."
        )
    if num_ranks % asked:
        raise ValueError(
            f"shard_ranks ({asked}) must divide the ranks ({num_ranks}): change one, or leave it out."
        )
    return asked
