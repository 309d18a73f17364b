"""Shared fixtures: where the real data sets stand, if they do; a small rendered data set; whole studies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROCESS_TESTS = (
    "test_end_to_end.py",
    "test_objectives_end_to_end.py",
    "test_stream.py",
    "test_stream_order.py",
    "test_stream_pitfalls.py",
    "test_stream_remote.py",
    "test_checkpoint_ranks.py",
    "test_children.py",
    "test_deepspeed_engine.py",
    "test_drills.py",
    "test_entry.py",
    "test_fsdp_engine.py",
    "test_head_sharded.py",
    "test_profile_report.py",
    "test_slurm_end_to_end.py",
    "test_step_verdicts.py",
    "test_trunks_end_to_end.py",
    "test_zero3_recomputing.py",
)
"""Files whose tests start process groups and look at shared memory: they run one after another, and first."""

if "PYTEST_XDIST_WORKER" in os.environ:  # one process per core: threads in each would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow process tests first, so that another worker does all the rest meanwhile."""
    items.sort(key=lambda item: item.path.name not in PROCESS_TESTS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under pytest-xdist: a file per worker at a time, the process tests together as if they were one file."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "processes" if path.endswith(PROCESS_TESTS) else path

    return ByFile(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A function from a data set's name to its folder; the test is skipped where the data set does not exist."""

    def locate(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"real data set {name!r} is not on this machine ({path})")
        return path

    return locate


@pytest.fixture(scope="session")
def small_rendering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered data set of a few hundred scenes."""
    from scaling.data.rendering.rendered import RenderSettings, render

    folder = tmp_path_factory.mktemp("rendered")
    settings = RenderSettings(
        train=300,
        validation=64,
        held_out=8,
        word_order=8,
        labelled_train=128,
        labelled_test=64,
        image_size=32,
    )
    render(folder, settings, workers=1, progress=False)
    return folder


@pytest.fixture(scope="session")
def start_deepspeed() -> Callable[..., subprocess.Popen[str]]:
    """A function that starts `deepspeed --num_accelerators N launch ...` from the repository root."""

    def start(
        *arguments: object, num_ranks: int | None = None, output: Path, **environment: object
    ) -> subprocess.Popen[str]:
        from scaling.launching.agreement import free_port

        deepspeed = Path(sys.executable).with_name("deepspeed")
        ranks = () if num_ranks is None else ("--num_accelerators", num_ranks)
        options = (*ranks, "--master_port", free_port())
        with open(output, "a") as stream:
            return subprocess.Popen(
                [str(word) for word in (deepspeed, *options, "launch", *arguments)],
                cwd=ROOT,
                env={**os.environ, **{name: str(value) for name, value in environment.items()}},
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    return start
