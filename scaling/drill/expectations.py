"""What is expected of a run that was disturbed once and then continued, compared with the same run undisturbed."""

from __future__ import annotations

import dataclasses
import json

from scaling.checkpoints.names import folder_name
from scaling.drill.comparison import (
    RELATIVE,
    difference_of_counts,
    difference_of_losses,
    difference_of_samples,
    difference_of_weights,
)
from scaling.drill.finding import Witness
from scaling.drill.launched import NUM_RANKS, Ended
from scaling.drill.site import MICRO_BATCH
from scaling.launching.out_of_memory import FILE as OUT_OF_MEMORY_FILE
from scaling.launching.out_of_memory import starting_micro_batch
from scaling.points import RunPoint
from scaling.processes import drilled_faults as faults
from scaling.processes.assignment import EXIT_PREEMPTED
from scaling.processes.drilled_faults import CHECKPOINT_STEPS, STEPS
from scaling.records import RunDirectory, Status


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """What a scene's run went through."""

    run: RunDirectory  # as it was left
    reference: RunDirectory  # of the same seed, undisturbed
    disturbed: Ended  # the launch in which the fault was played
    status: Status  # after that launch
    checkpoints: list[str]  # the names in its folder of checkpoints, then
    attempts_after: int  # at other runs, which that launch began after this one ended


def _ends_like_the_reference(played: Played, witness: Witness, *, relative: float = 0.0) -> None:
    run, reference = played.run, played.reference
    record = run.read_record()
    witness.expect(record is not None, "run again, it is done", run.read_status().state)
    if record is None:
        return
    told = f"within {relative:g}" if relative else "bit for bit"
    witness.no_difference(difference_of_losses(run, reference, relative=relative), f"losses equal {told}")
    witness.no_difference(difference_of_samples(run, reference), "same samples, each once")
    witness.no_difference(difference_of_counts(run, reference), "same label counts")
    if not relative:
        witness.no_difference(difference_of_weights(run, reference), "same weights")


def _has_state(played: Played, witness: Witness, state: str, *, reason: str = "") -> None:
    status = played.status
    told = f"{state} ({reason})" if reason else state
    found = f"{status.state}: {status.reason}"
    witness.expect(status.state == state and reason in status.reason, told, found)


def check_oom(played: Played, witness: Witness) -> None:
    run, halved = played.run, MICRO_BATCH // 2
    point = RunPoint.model_validate_json(run.point.read_text())
    path = run.path / OUT_OF_MEMORY_FILE
    failed = [entry["micro_batch"] for entry in json.loads(path.read_text())] if path.exists() else []
    witness.expect(failed == [MICRO_BATCH], f"out of memory with micro_batch {MICRO_BATCH}", failed)
    told = f"with micro_batch {halved}"
    witness.expect(told in played.disturbed.output, f"retried at once {told}")
    witness.expect(starting_micro_batch(run.path, point) == halved, "remembered for the next launch")
    witness.expect(played.status.attempts == 2, "two attempts", played.status.attempts)
    _ends_like_the_reference(played, witness, relative=RELATIVE)


def check_preempted(played: Played, witness: Witness) -> None:
    witness.expect(played.disturbed.status == EXIT_PREEMPTED, "exit 75", played.disturbed.status)
    _has_state(played, witness, "preempted", reason="checkpoint written")
    _ends_like_the_reference(played, witness)


def check_killed_rank(played: Played, witness: Witness) -> None:
    witness.expect(played.disturbed.status != 0, "the launch did not claim success")
    _has_state(played, witness, "killed", reason="SIGKILL")
    _ends_like_the_reference(played, witness)


def check_fewer_ranks(played: Played, witness: Witness) -> None:
    _has_state(played, witness, "killed", reason="SIGKILL")
    record = played.run.read_record()
    found = (record.measured.num_ranks, record.placement["zero_stage"]) if record is not None else None
    witness.expect(found == (1, 3), "on one rank, in stage 3", found)
    _ends_like_the_reference(played, witness, relative=RELATIVE)


def check_diverged(played: Played, witness: Witness) -> None:
    step = STEPS[faults.NOT_A_NUMBER]
    _has_state(played, witness, "diverged")
    wanted = {"step": step, "what": "loss", "checkpoint": CHECKPOINT_STEPS}
    told = f"loss of step {step}, last checkpoint {CHECKPOINT_STEPS}"
    witness.expect(played.status.facts == wanted, told, played.status.facts)
    _ends_like_the_reference(played, witness)


def check_rolled_back(played: Played, witness: Witness) -> None:
    step, record = STEPS[faults.NOT_A_NUMBER], played.run.read_record()
    witness.expect(record is not None, "done at the first attempt", played.status.state)
    if record is None:
        return
    witness.expect(
        record.skipped_batches == [step], f"batch {step} recorded as left out", record.skipped_batches
    )
    witness.expect(record.num_rollbacks == 1, "one rollback recorded", record.num_rollbacks)
    difference = difference_of_samples(played.run, played.reference, left_out=step)
    witness.no_difference(difference, "the samples of all other steps")


def check_hung(played: Played, witness: Witness) -> None:
    _has_state(played, witness, "hung")
    facts = played.status.facts
    witness.expect(facts.get("step") == STEPS[faults.HANG], f"at step {STEPS[faults.HANG]}", facts)
    for rank in range(NUM_RANKS):
        log = (played.run.path / f"log-rank{rank}.txt").read_text()
        witness.expect("most recent call first" in log, f"stacks of rank {rank}")
    witness.expect(played.attempts_after > 0, "the next point ran")
    _ends_like_the_reference(played, witness)


def check_half_written(played: Played, witness: Witness) -> None:
    _has_state(played, witness, "killed")
    record = played.run.read_record()
    warnings = record.warnings if record is not None else []
    told = any("damaged and was left out" in warning for warning in warnings)
    witness.expect(told, "a warning in the record", warnings)
    witness.expect(not list(played.run.checkpoints.glob("*.tmp")), "nothing half-written left")
    _ends_like_the_reference(played, witness)


def check_full_disk(played: Played, witness: Witness) -> None:
    _has_state(played, witness, "error", reason="WriteError")
    wanted = ["latest", folder_name(CHECKPOINT_STEPS)]
    told = "the checkpoint before is intact, and alone"
    witness.expect(played.checkpoints == wanted, told, played.checkpoints)
    _ends_like_the_reference(played, witness)
