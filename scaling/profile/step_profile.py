"""Profiles a few real steps of one point through its engine and objective."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from model_zoo.counts import count_parameters, train_flops_per_sample
from model_zoo.hardware_counts import Execution, hardware_flops_per_sample
from scaling.data.batches import Batch
from scaling.points import RunPoint
from scaling.predicting.memory import predicted_memory
from scaling.profile.machine import MachinePeaks, wait_for
from scaling.profile.memory_timeline import MemoryTimeline, marking_gradients, read_timeline, standing_bytes
from scaling.profile.module_tree import ModuleMeter, ModuleRow
from scaling.profile.observed_engine import ObservedEngine, phase
from scaling.profile.operators import Operator, OperatorTimer
from scaling.profile.phases import seconds_by_phase
from scaling.profile.reduced_point import ReducedPoint
from scaling.profile.training_batches import training_batches
from scaling.train.accumulation import Accumulation
from scaling.train.assembly import assemble_engine, assemble_statistics, augmentation_of
from scaling.train.engines.protocol import Engine
from scaling.train.idf import LabelStatistics
from scaling.train.utilisation import counted_threads

CPU = "CPU"  # begins the name of that device
LEAST_BUSY = 0.9  # cores that an undisturbed step keeps busy; below it other processes took them
WATCHED_STEPS = 3  # besides the timed ones: the first, the profiled one, the one operator by operator


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StepProfile:
    """What the steps of one point took; FLOPs are 2 x multiply-adds, forward and backward, per sample."""

    reduced: ReducedPoint
    device: str
    seconds_per_step: float  # median of the steps that nothing watched
    processor_seconds_per_step: float  # of all threads, likewise
    steps: int
    parameters: dict[str, int]  # by part
    model_flops_per_sample: int
    hardware_flops_per_sample: int  # with recomputation
    model_flops_utilisation: float  # MFU: of the measured peak
    hardware_flops_utilisation: float  # HFU
    phases: dict[str, float]  # seconds of one watched step
    predicted_memory_bytes: int  # the peak of the device, without the allowance for fragmentation
    memory: MemoryTimeline
    modules: list[ModuleRow]
    operators: list[Operator]  # of one step, each waited for; those that took longest first

    @property
    def samples_per_second(self) -> float:
        return self.reduced.point.science.global_batch / self.seconds_per_step

    @property
    def is_disturbed(self) -> bool:
        """Whether other processes used the CPU: seconds are then unreliable, memory and FLOPs are not."""
        return (
            self.device.startswith(CPU)
            and self.processor_seconds_per_step < LEAST_BUSY * self.seconds_per_step
        )


def profile_steps(reduced: ReducedPoint, peaks: MachinePeaks, *, steps: int, files: Path) -> StepProfile:
    """The profile of a point, its process group being up; a trace (and on CUDA a memory snapshot) at `files`.*

    Three passes after one to warm up: `steps` that nothing watches, for the time; one under torch's profiler, for
    phases and memory; one operator by operator, for the modules and the roofline.
    """
    engine = assemble_engine(reduced.point)
    with training_batches(reduced.point, steps + WATCHED_STEPS, engine.device) as batches:
        run = _Run(reduced.point, engine, batches)
        run.step()
        seconds = [run.timed_step() for _ in range(steps)]
        standing = standing_bytes(engine)
        with _memory_snapshot(engine.device, files), _profiler(engine.device) as profiler:
            with marking_gradients(engine.objective):
                run.step()
        profiler.export_chrome_trace(f"{files}.trace.json.gz")
        timer, meter = run.step_by_operators()
    engine.close()
    science, (median, busy) = reduced.point.science, map(statistics.median, zip(*seconds, strict=True))
    model = sum(train_flops_per_sample(science.specification, science.global_batch).values())
    hardware = _hardware_flops(reduced)
    rate = science.global_batch / median / peaks.flops_per_second
    return StepProfile(
        reduced=reduced,
        device=_name_of(engine.device),
        seconds_per_step=median,
        processor_seconds_per_step=busy,
        steps=steps,
        parameters=count_parameters(science.specification),
        model_flops_per_sample=model,
        hardware_flops_per_sample=hardware,
        model_flops_utilisation=rate * model,
        hardware_flops_utilisation=rate * hardware,
        phases=seconds_by_phase(profiler),
        predicted_memory_bytes=_predicted_bytes(reduced, engine.device),
        memory=read_timeline(profiler, standing, engine.device),
        modules=meter.rows(),
        operators=timer.operators(),
    )


class _Run:
    """A point with all that its steps need."""

    def __init__(self, point: RunPoint, engine: Engine, batches: Iterator[Batch]) -> None:
        self.engine = engine
        self._point = point
        self._statistics: LabelStatistics = assemble_statistics(point, engine.device)
        self._batches = batches

    def step(self, engine: ObservedEngine | None = None) -> None:
        """One optimizer step, as the training loop makes it."""
        observed = engine or ObservedEngine(self.engine)
        with phase("step", self.engine.device):
            with phase("data wait", self.engine.device):
                batch = next(self._batches)
                targets = batch.targets.to(self.engine.device)
            accumulation = Accumulation(
                observed,
                augmentation=augmentation_of(self._point.science),
                micro_batch=self._point.placement.micro_batch,
                num_ranks=1,
            )
            accumulation.forward_backward(batch, targets, self._statistics.observe(targets))
            observed.step(self._point.science.learning_rate)

    def timed_step(self) -> tuple[float, float]:
        """Seconds of a step, and seconds of processors in it."""
        began, busy_before = time.perf_counter(), time.process_time()
        self.step()
        wait_for(self.engine.device)
        return time.perf_counter() - began, time.process_time() - busy_before

    def step_by_operators(self) -> tuple[OperatorTimer, ModuleMeter]:
        """A step in which every operator is waited for."""
        meter = ModuleMeter(self.engine.objective)
        timer = OperatorTimer(self.engine.device, meter.notice)
        with timer:
            self.step(ObservedEngine(self.engine, meter.following))
        return timer, meter


def _hardware_flops(reduced: ReducedPoint) -> int:
    science, placement = reduced.point.science, reduced.point.placement
    execution = Execution(
        activation_checkpointing=placement.activation_checkpointing,
        activation_checkpointing_every=placement.activation_checkpointing_every,
        head_recompute=placement.head_recompute,
    )
    return sum(hardware_flops_per_sample(science.specification, execution, science.global_batch).values())


def _predicted_bytes(reduced: ReducedPoint, device: torch.device) -> int:
    """As a plan predicts it; on a CPU with what is offloaded, since it lies in the same memory."""
    is_apart = device.type != "cpu"
    memory = predicted_memory(reduced.point.science, reduced.point.placement, on_accelerator=is_apart)
    return memory.needed(on_accelerator=is_apart) - memory.fragmentation


def _profiler(device: torch.device) -> profile:
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    return profile(activities=activities, profile_memory=True)


@contextlib.contextmanager
def _memory_snapshot(device: torch.device, files: Path) -> Iterator[None]:
    """On CUDA, the allocator's history of what happens inside, for pytorch.org/memory_viz, as `files`.memory.pickle."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.memory._record_memory_history()
    try:
        yield
        torch.cuda.memory._dump_snapshot(f"{files}.memory.pickle")  # type: ignore[no-untyped-call]
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)


def _name_of(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{CPU}, {counted_threads(torch.get_num_threads())}"
