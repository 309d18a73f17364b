"""Conversions that are interrupted continue, in any number of processes, and never touch what is not theirs."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from streaming.base.format.mds import MDSWriter
from tar_samples import pairs, read, write_tar

from scaling.data.conversion import convert as conversion
from scaling.data.conversion.convert import convert
from scaling.records import WriteError


def test_several_processes_make_the_same_set_as_one(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / "src" / f"{number}.tar", pairs(10 * number, 4))
    convert(str(tmp_path / "src"), tmp_path / "one", kind="tars", workers=1, progress=False)
    convert(str(tmp_path / "src"), tmp_path / "two", kind="tars", workers=2, progress=False)
    assert (tmp_path / "one" / "manifest.json").read_bytes() == (
        tmp_path / "two" / "manifest.json"
    ).read_bytes()
    assert read(tmp_path / "one") == read(tmp_path / "two")


def test_a_rerun_skips_finished_tars_and_redoes_the_interrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        write_tar(tmp_path / "src" / f"{number}.tar", pairs(10 * number, 3))
    convert(str(tmp_path / "src"), tmp_path / "whole", kind="tars", progress=False)
    convert(str(tmp_path / "src"), tmp_path / "dst", kind="tars", progress=False)
    (tmp_path / "dst" / "index.json").unlink()
    (tmp_path / "dst" / "manifest.json").unlink()
    (tmp_path / "dst" / "part-00001").rename(tmp_path / "dst" / "part-00001.tmp")  # as a kill leaves it
    (tmp_path / "dst" / "part-00001.tmp" / "shard.00000.mds").write_bytes(b"half a shard")
    written: list[str] = []
    write_part = conversion.write_part
    monkeypatch.setattr(
        conversion, "write_part", lambda job: (written.append(job.group.name), write_part(job))[1]
    )
    convert(str(tmp_path / "src"), tmp_path / "dst", kind="tars", progress=False)
    assert written == ["1.tar"]
    assert read(tmp_path / "dst") == read(tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "dst").iterdir()) == [
        "index.json", "manifest.json", "part-00000", "part-00001",
    ]  # fmt: skip


def test_a_changed_source_is_refused_and_not_mixed_with_the_old_one(tmp_path: Path) -> None:
    write_tar(tmp_path / "src" / "1.tar", pairs(0, 2))
    convert(str(tmp_path / "src"), tmp_path / "dst", kind="tars", progress=False)
    write_tar(tmp_path / "src" / "0.tar", pairs(5, 2))
    with pytest.raises(ValueError, match="part-00000 was made from 1.tar .* source has changed"):
        convert(str(tmp_path / "src"), tmp_path / "dst", kind="tars", progress=False)


def test_a_full_disk_is_a_write_error_and_the_next_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = write_tar(tmp_path / "s.tar", pairs(0, 2))

    def no_space(self: MDSWriter) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MDSWriter, "flush_shard", no_space)
        with pytest.raises(WriteError, match="No space left on device.*to continue"):
            convert(str(tar), tmp_path / "dst", kind="tars", progress=False)
    assert not (tmp_path / "dst" / "part-00000").exists()
    assert convert(str(tar), tmp_path / "dst", kind="tars", progress=False).num_samples == 2


@pytest.mark.slow
def test_a_killed_conversion_leaves_no_process_behind_and_is_continued(tmp_path: Path) -> None:
    for number in range(30):
        write_tar(tmp_path / "src" / f"{number:02d}.tar", pairs(100 * number, 60))
    code = (
        "from pathlib import Path; from scaling.data.conversion.convert import convert\n"
        f"if __name__ == '__main__': convert({str(tmp_path / 'src')!r}, "
        f"Path({str(tmp_path / 'dst')!r}), kind='tars', workers=2, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    wait_until(lambda: any((tmp_path / "dst").glob("part-*")))
    process.kill()
    process.wait()
    wait_until(lambda: not session_members(process.pid))
    finished = len(list((tmp_path / "dst").glob("part-?????")))
    assert finished < 30
    assert (
        convert(str(tmp_path / "src"), tmp_path / "dst", kind="tars", progress=False).num_samples == 30 * 60
    )


def session_members(leader: int) -> list[int]:
    """The processes of the session that `leader` opened."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                members.append(int(stat.parent.name))
    return members


def wait_until(happened: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize("place", ["dst", "dst/train"])
def test_a_destination_that_holds_something_else_is_left_alone(tmp_path: Path, place: str) -> None:
    write_tar(tmp_path / "src" / "train" / "0.tar", pairs(0, 1))
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="already holds thesis.tex"):
        convert(str(tmp_path / "src"), tmp_path / "dst", kind="tars", progress=False)
    assert list((tmp_path / place).iterdir()) == [tmp_path / place / "thesis.tex"]


def test_a_destination_that_cannot_be_written_is_said_before_anything_is_read(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "s.tar", pairs(0, 1))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match="cannot be written"):
        convert(str(tar), tmp_path / "file" / "dst", kind="tars", progress=False)
