"""What a profile says of a step agrees with what is known of the step by other means."""

from __future__ import annotations

import itertools

import pytest
import torch
from profiled import PEAKS, point_of, profile_of
from torch.profiler import ProfilerActivity, profile, record_function

from model_zoo.counts import count_parameters, forward_flops_per_sample
from model_zoo.hardware_counts import Execution, hardware_flops_per_sample
from scaling.profile.memory_timeline import marking_gradients, read_timeline, standing_bytes
from scaling.profile.memory_trace import measured_peak
from scaling.profile.observed_engine import phase
from scaling.profile.operators import Operator
from scaling.profile.phases import PHASES, seconds_by_phase
from scaling.profile.reduced_point import reduced, synthetic_batch
from scaling.profile.step_profile import _Run
from scaling.train.assembly import assemble_engine

CPU = torch.device("cpu")
OBJECTIVES = ("superclass", "clip")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_operators_of_a_step_do_the_hardware_flops_of_the_closed_form(objective: str) -> None:
    profile = profile_of(objective)
    science = profile.reduced.point.science
    expected = hardware_flops_per_sample(science.specification, Execution(), science.global_batch)
    counted = sum(operator.flops for operator in profile.operators)
    assert counted == pytest.approx(science.global_batch * sum(expected.values()), rel=0.005)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_modules_do_the_forward_flops_and_hold_the_parameters_of_the_closed_form(objective: str) -> None:
    profile = profile_of(objective)
    science = profile.reduced.point.science
    expected = forward_flops_per_sample(science.specification, science.global_batch)
    parameters = count_parameters(science.specification)
    rows = {row.name: row for row in profile.modules}
    for name in {"image_tower", "text_tower"} & rows.keys():
        assert rows[name].forward_flops == science.global_batch * expected[name]
        assert rows[name].parameters == parameters[name]
    assert rows[""].parameters == sum(parameters.values())


def test_what_blocks_keep_for_backward_adds_up_to_what_their_tower_keeps_of_them() -> None:
    rows = {row.name: row for row in profile_of("superclass").modules}
    blocks = [row.activation_bytes for name, row in rows.items() if name.startswith("image_tower.blocks.")]
    one_by_one = [row for name, row in rows.items() if name.count(".") == 2 and ".blocks." in name]
    assert sum(row.activation_bytes for row in one_by_one) == rows["image_tower.blocks"].activation_bytes
    assert min(blocks) > 0


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_memory_timeline_peaks_where_an_independent_count_of_allocations_does(objective: str) -> None:
    point = reduced(point_of(objective), "cpu").point
    run = _Run(point, assemble_engine(point), itertools.repeat(synthetic_batch(point.science)))
    run.step()
    standing = standing_bytes(run.engine)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        with marking_gradients(run.engine.objective):
            run.step()
    timeline = read_timeline(profiler, standing, CPU)
    beyond = timeline.peak.total - sum(standing.values())
    assert beyond == pytest.approx(measured_peak(run.step, CPU), rel=0.03)  # the marks allocate nothing


def test_weights_moments_and_gradients_stand_in_the_timeline_with_the_bytes_of_the_parameters() -> None:
    profile = profile_of("superclass")
    trained = 4 * sum(profile.parameters.values())
    largest = {
        name: max(moment.bytes_by_class[name] for moment in profile.memory.moments)
        for name in ("parameters", "optimizer_states", "gradients")
    }
    assert largest["parameters"] == pytest.approx(trained, rel=0.01)
    assert largest["optimizer_states"] == pytest.approx(2 * trained, rel=0.01)
    assert largest["gradients"] == pytest.approx(trained, rel=0.01)


def test_gradients_and_activations_are_gone_at_the_end_of_a_step() -> None:
    held = [moment.bytes_by_class for moment in profile_of("superclass").memory.moments]
    assert held[-1]["gradients"] == 0
    assert held[-1]["activations"] < 0.1 * max(each["activations"] for each in held)  # label weights stay


def test_model_and_hardware_utilisation_are_two_numbers_in_the_ratio_of_their_flops() -> None:
    profile = profile_of("clip")
    assert profile.hardware_flops_per_sample > profile.model_flops_per_sample
    ratio = profile.hardware_flops_utilisation / profile.model_flops_utilisation
    assert ratio == pytest.approx(profile.hardware_flops_per_sample / profile.model_flops_per_sample)


def test_a_profile_leaves_a_trace_that_says_where_the_phases_are() -> None:
    phases = profile_of("superclass").phases
    assert set(phases) == set(PHASES)
    assert min(phases["forward"], phases["backward"], phases["optimizer"]) > 0


def test_collectives_are_taken_out_of_the_phase_that_called_them() -> None:
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        with phase("step", CPU), phase("backward", CPU):
            with record_function("c10d::allreduce_"), record_function("c10d::allreduce_"):
                torch.ones(200, 200) @ torch.ones(200, 200)
    spans = {event.name: event.time_range for event in profiler.events()}
    found = seconds_by_phase(profiler)
    whole = (spans["phase: step"].end - spans["phase: step"].start) / 1e6
    assert found["communication"] > 0
    assert found["backward"] + found["communication"] <= whole
    assert sum(found.values()) == pytest.approx(whole)


def test_an_operator_at_the_roof_reaches_all_of_it_and_one_that_moves_bytes_is_held_to_the_bandwidth() -> (
    None
):
    def operator(flops: int, moved_bytes: int) -> Operator:
        return Operator(name="", shapes="", calls=3, seconds=1.0, flops=flops, moved_bytes=moved_bytes)

    assert operator(flops=int(1e11), moved_bytes=1).share_of_roof(PEAKS) == pytest.approx(1.0)
    assert operator(flops=0, moved_bytes=int(5e9)).share_of_roof(PEAKS) == pytest.approx(0.5)
