"""What one point is expected to take before it runs: FLOPs, device-hours, memory, bytes.  No torch."""

from __future__ import annotations

from model_zoo.counts import count_parameters, train_flops_per_sample
from model_zoo.hardware_counts import Execution, hardware_flops_per_sample
from scaling.cost import num_steps, peak_flops, samples_shown
from scaling.hardware import Accelerator
from scaling.placement import Placement
from scaling.predicting.calibration import NO_CALIBRATION, Calibration
from scaling.predicting.memory import MEMORY_CLASSES, predicted_memory
from scaling.predicting.storage import checkpoint_bytes, data_bytes, num_checkpoints_kept, weight_bytes
from scaling.predicting.throughput import seconds_per_step
from scaling.predicting.workload import workload_of
from scaling.records import PlannedCost
from scaling.sweep.science import Science


def planned_cost(
    science: Science,
    placement: Placement,
    accelerator: Accelerator,
    *,
    sample_bytes: float,
    calibration: Calibration = NO_CALIBRATION,
) -> PlannedCost:
    """The expected cost of one point, by what was measured of points like it where there is such a record.

    Device-hours are those of steps (scaling/predicting/throughput.py); start, loading that is too slow, checkpoints and
    evaluations are left out, until a calibration says what share of the peak is left with them.
    """
    factors = calibration.factors(science.objective, science.image_tower, accelerator.name)
    steps, shown = num_steps(science.samples_seen, science.global_batch), samples_shown(science)
    model = train_flops_per_sample(science.specification, science.global_batch)
    hardware = hardware_flops_per_sample(
        science.specification, _execution(science, placement), science.global_batch
    )
    seconds = seconds_per_step(workload_of(science), placement, accelerator) / factors.get("utilisation", 1.0)
    hours = seconds * steps * placement.num_ranks / 3600
    hardware_flops = sum(hardware.values()) * shown
    memory = predicted_memory(science, placement, on_accelerator=accelerator.is_apart)
    offloaded_here = memory.needed(on_accelerator=accelerator.is_apart) - memory.total
    one_checkpoint = round(checkpoint_bytes(science) * factors.get("checkpoint", 1.0))
    return PlannedCost(
        parameters=count_parameters(science.specification),
        train_flops_per_sample=model,
        train_flops=sum(model.values()) * shown,
        steps=steps,
        accelerator=accelerator.name,
        utilisation=hardware_flops / (peak_flops(science.precision, accelerator) * hours * 3600),
        device_hours=hours,
        hardware_flops_per_sample=hardware,
        hardware_flops=hardware_flops,
        memory_bytes={name: getattr(memory, name) for name in MEMORY_CLASSES},
        peak_memory_bytes=memory.fragmentation
        + round((memory.allocated + offloaded_here) * factors.get("memory", 1.0)),
        host_memory_bytes=memory.host,
        data_bytes=data_bytes(science, sample_bytes),
        checkpoint_bytes=one_checkpoint,
        disk_bytes=one_checkpoint * num_checkpoints_kept(science, placement) + weight_bytes(science),
        calibration=factors,
    )


def _execution(science: Science, placement: Placement) -> Execution:
    return Execution(
        activation_checkpointing=placement.activation_checkpointing,
        activation_checkpointing_every=placement.activation_checkpointing_every,
        head_recompute=placement.head_recompute,
        num_micro_batches=science.global_batch // placement.num_ranks // placement.micro_batch,
        num_ranks=placement.num_ranks,
    )
