"""DeepSpeed's own configuration: everything it would otherwise choose for us, and that could change what is learned."""

from __future__ import annotations

from typing import Any

import torch

from scaling.train.engines.protocol import EngineSettings

PERSISTENT_ELEMENTS = 100_000
"""Parameters up to this size stay whole on every rank in stage 3; DeepSpeed's default. Above 0, or what an objective
changes after a step (a logit scale) would not be there to be changed."""

# gathered at once, and far enough apart to be released between uses; DeepSpeed's default
LIVE_ELEMENTS = 1_000_000_000
SUB_GROUP_ELEMENTS = 1_000_000_000  # that AdamW steps at once in stage 3; DeepSpeed's default


def configuration(
    settings: EngineSettings, *, device: torch.device, num_trained: int, couples_samples: bool
) -> dict[str, Any]:
    """The dictionary for deepspeed.initialize.

    `num_trained`: elements of the trained parameters.  `couples_samples`: of the objective, see reduces_in_step.
    """
    return {
        "train_batch_size": settings.global_batch,
        "train_micro_batch_size_per_gpu": settings.micro_batch,
        "gradient_accumulation_steps": settings.num_micro_batches,
        "managed_gradient_accumulation": not reduces_in_step(settings, couples_samples),
        # DeepSpeed 0.19.8 clips at 1.0 if nothing is said; in stage 0 WatchfulAdamW clips.
        "gradient_clipping": settings.gradient_clipping if settings.zero_stage else 0.0,
        "zero_optimization": _zero(settings, device, num_trained, couples_samples),
        "zero_allow_untested_optimizer": True,  # a torch optimizer
        "zero_force_ds_cpu_optimizer": False,  # where the states are on the CPU, too
        # Our own autocast (UnderAutocast): DeepSpeed's would reduce the gradients of linear layers in bfloat16.
        "torch_autocast": {"enabled": False},
        "bf16": {"enabled": False},
        "fp16": {"enabled": False},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "gradient_allreduce_op": "mean",
        "prescale_gradients": False,
        "gradient_predivide_factor": 1.0,
        # waits for the device in every step
        "timers": {"throughput": {"enabled": False, "synchronized": False}},
        "steps_per_print": 2**31 - 1,
        "wall_clock_breakdown": False,
    }


def check_compile(settings: EngineSettings) -> None:
    """ValueError where torch.compile would give up after a while and leave the blocks as they are."""
    if settings.compile and settings.zero_stage == 3:
        raise ValueError(
            "compile (true) does not work with zero_stage 3 of engine deepspeed, whose hooks make torch.compile start "
            "anew for every block until it gives up: use engine fsdp, or zero_stage 2."
        )


def reduces_in_step(settings: EngineSettings, couples_samples: bool) -> bool:
    """Whether offloaded gradients wait for step() instead of being finished with the last micro-batch.

    With cached features (scaling/train/accumulation.py) the loss's own parameters get their gradient with the first
    micro-batch only; DeepSpeed 0.19.8 copies to the CPU's AdamW those alone that the last one reached.
    """
    return settings.offload != "none" and _has_early_gradients(settings, couples_samples)


def _has_early_gradients(settings: EngineSettings, couples_samples: bool) -> bool:
    return couples_samples and settings.num_micro_batches > 1


def _overlaps(settings: EngineSettings, couples_samples: bool) -> bool:
    """Whether to reduce while backward runs.

    In stage 1 that is while the last micro-batch's runs, and gradients that came before it alone would stay what this
    rank has of them; nor does DeepSpeed overlap what waits for step().
    """
    is_safe = not _has_early_gradients(settings, couples_samples) or (
        settings.zero_stage in (2, 3) and settings.offload == "none"
    )
    return settings.overlap_communication and is_safe


def _zero(
    settings: EngineSettings, device: torch.device, num_trained: int, couples_samples: bool
) -> dict[str, Any]:
    bucket = min(settings.bucket_elements, num_trained)  # its buffer is allocated whole
    chosen = {
        "stage": settings.zero_stage,
        "overlap_comm": _overlaps(settings, couples_samples),
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket + bucket % 2,  # DeepSpeed asks for an even number
        "stage3_prefetch_bucket_size": bucket,
        "stage3_param_persistence_threshold": PERSISTENT_ELEMENTS,
        "stage3_max_live_parameters": LIVE_ELEMENTS,
        "stage3_max_reuse_distance": LIVE_ELEMENTS,
        "sub_group_size": SUB_GROUP_ELEMENTS,
    }
    fixed = {
        "contiguous_gradients": True,
        "reduce_scatter": True,
        "use_multi_rank_bucket_allreduce": True,
        "allgather_partitions": True,
        "round_robin_gradients": False,
        "parameter_alignment": False,
        "compute_grad_norm": True,
        "ignore_unused_parameters": True,  # a locked tower
        "zero_hpz_partition_size": 1,
        "zero_quantized_weights": False,
        "zero_quantized_nontrainable_weights": False,
        "zero_quantized_gradients": False,
        "memory_efficient_linear": True,  # torch's own keeps every gathered weight from forward to backward
    }
    return chosen | fixed | _offload(settings, device)


def _offload(settings: EngineSettings, device: torch.device) -> dict[str, Any]:
    on_cpu = {"device": "cpu", "pin_memory": device.type == "cuda"}
    optimizer = {"offload_optimizer": on_cpu} if settings.offload != "none" else {}
    parameters = {"offload_param": on_cpu} if settings.offload == "all" else {}
    return optimizer | parameters
