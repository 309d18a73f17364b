"""Drills that share launches: each disturbs a run of its own once, and the run is then continued."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable

from scaling.checkpoints.contents import data_file
from scaling.checkpoints.names import folder_name
from scaling.drill import expectations as expect
from scaling.drill.expectations import Played
from scaling.drill.finding import Witness
from scaling.drill.launched import NUM_RANKS, Launch
from scaling.drill.processes import send
from scaling.drill.site import MICRO_BATCH
from scaling.processes import drilled_faults as faults
from scaling.processes.drilled_faults import CHECKPOINT_STEPS, STEPS
from scaling.records import RunDirectory


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """One disturbed run."""

    drill: str
    fault: str  # played in its run's first attempt
    done: str
    expected: str
    check: Callable[[Played, Witness], None]
    non_finite: str = "stop"
    interrupt: Callable[[Launch], None] | None = None  # what is done to its launch while the run is held
    goes_on_alone: bool = False  # on one rank, in ZeRO stage 3, by a launch of its own
    # what is done to its files after the disturbed launch
    damage: Callable[[RunDirectory], None] | None = None


def _cut_last_checkpoint(run: RunDirectory) -> None:
    """Cut one rank's file in half, as a power cut may, and leave a folder that was never renamed."""
    folder = run.checkpoints / folder_name(STEPS[faults.KILL_LATE] // CHECKPOINT_STEPS * CHECKPOINT_STEPS)
    path = data_file(folder, NUM_RANKS - 1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (run.checkpoints / f"{folder.name}.0123abcd.tmp").mkdir()


def _ask_to_stop(launch: Launch) -> None:
    launch.signal(signal.SIGTERM)


def _kill_launchers(launch: Launch) -> None:
    send([process for process in launch.processes() if process.is_launcher_of_deepspeed], signal.SIGKILL)


_STEP, _LATE = STEPS[faults.KILL], STEPS[faults.KILL_LATE]

SCENES = (
    Scene(
        drill="oom",
        fault=faults.OUT_OF_MEMORY,
        done=f"step {_STEP} asks for a pebibyte while the micro-batch is {MICRO_BATCH}",
        expected="half the micro-batch at once, same losses, nothing counted twice, remembered",
        check=expect.check_oom,
    ),
    Scene(
        drill="sigkill-rank",
        fault=faults.KILL,
        done=f"SIGKILL to rank 1 before step {_STEP}",
        expected="killed; run again, the same run",
        check=expect.check_killed_rank,
    ),
    Scene(
        drill="world-size",
        fault=faults.KILL,
        done=f"SIGKILL to rank 1 before step {_STEP}, then on with one rank and ZeRO stage 3",
        expected="the losses of two ranks, same samples and label counts",
        check=expect.check_fewer_ranks,
        goes_on_alone=True,
    ),
    Scene(
        drill="nan",
        fault=faults.NOT_A_NUMBER,
        done=f"features of step {_STEP} not a number on rank 1; non_finite: stop",
        expected="diverged, with step and last checkpoint; tried again, the same run",
        check=expect.check_diverged,
    ),
    Scene(
        drill="nan",
        fault=faults.NOT_A_NUMBER,
        done=f"features of step {_STEP} not a number on rank 1; non_finite: rollback",
        expected="done, that batch left out and recorded",
        check=expect.check_rolled_back,
        non_finite="rollback",
    ),
    Scene(
        drill="hang",
        fault=faults.HANG,
        done=f"rank 1 sleeps before step {_STEP}; {faults.HANG_SECONDS:.0f} s count as hung",
        expected="hung, stacks of all ranks in the logs, the next point runs; run again, the same run",
        check=expect.check_hung,
    ),
    Scene(
        drill="half-written-checkpoint",
        fault=faults.KILL_LATE,
        done=f"SIGKILL to rank 1 before step {_LATE}, then half of a file of the last checkpoint cut off",
        expected="run again from the checkpoint before, with a warning in the record, the same run",
        check=expect.check_half_written,
        damage=_cut_last_checkpoint,
    ),
    Scene(
        drill="disk-full",
        fault=faults.FULL_DISK,
        done=f"from step {_STEP} on no file may grow beyond {faults.FILE_BYTES:,} bytes",
        expected="WriteError, the checkpoint before intact; run again, the same run",
        check=expect.check_full_disk,
    ),
    Scene(
        drill="sigterm",
        fault=faults.HOLD,
        done=f"SIGTERM to scaling launch at step {_STEP}",
        expected="exit 75, preempted; run again, the same run",
        check=expect.check_preempted,
        interrupt=_ask_to_stop,
    ),
    Scene(
        drill="sigkill-launcher",
        fault=faults.HOLD,
        done=f"SIGKILL to DeepSpeed's runner and launcher at step {_STEP}",
        expected="preempted, exit 75, no orphan; run again, the same run",
        check=expect.check_preempted,
        interrupt=_kill_launchers,
    ),
)
"""Scenes that interrupt their launch come last, because the launch ends with them."""
