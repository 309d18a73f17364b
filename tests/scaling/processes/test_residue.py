from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scaling.processes import residue


@pytest.fixture
def shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shm"
    folder.mkdir()
    monkeypatch.setattr(residue, "SHARED_MEMORY", folder)
    return folder


def _file(path: Path, size: int = 10) -> Path:
    path.write_bytes(b"x" * size)
    return path


def test_allreduce_buffers_of_our_port_go_and_those_of_other_ports_and_users_stay(
    shared_memory: Path,
) -> None:
    uid = os.getuid()
    ours = [
        _file(shared_memory / f"deepspeed_allreduce_buffer_{uid}_127.0.0.1_2950_{rank}") for rank in (0, 1)
    ]
    other_port = _file(shared_memory / f"deepspeed_allreduce_buffer_{uid}_127.0.0.1_29501_0")
    other_user = _file(shared_memory / f"deepspeed_allreduce_buffer_{uid + 1}_127.0.0.1_2950_0")
    assert residue.remove_allreduce_buffers(2950) == 20
    assert not any(path.exists() for path in ours)
    assert other_port.exists() and other_user.exists()


def test_segments_of_a_killed_child_go_with_those_it_made_after_the_note(
    shared_memory: Path, tmp_path: Path
) -> None:
    _file(shared_memory / "000003_next_epoch")
    residue.note_streaming_segments(tmp_path, 3)
    _file(shared_memory / "000003_epoch_data")
    foreign = _file(shared_memory / "000004_next_epoch")
    residue.remove_streaming_segments(tmp_path)
    assert list(shared_memory.iterdir()) == [foreign]


def test_what_a_killed_launcher_left_is_removed_by_the_next_one_and_a_live_one_s_is_not(
    shared_memory: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    dead, alive = (temporary / f"{residue.SCRATCH_PREFIX}{name}" for name in ("dead", "alive"))
    for number, scratch in enumerate((dead, alive)):
        scratch.parent.mkdir(exist_ok=True)
        residue.claim_scratch(scratch, 2950 + number)
        _file(shared_memory / f"00000{number}_locals")
        residue.note_streaming_segments(scratch, number)
        _file(shared_memory / f"deepspeed_allreduce_buffer_{os.getuid()}_127.0.0.1_{2950 + number}_0")
    owner = dead / "owner.json"
    owner.write_text(owner.read_text().replace(str(os.getpid()), str(2**22 - 1)))
    assert residue.remove_orphans(temporary) == 1
    assert not dead.exists() and alive.exists()
    left = sorted(path.name for path in shared_memory.iterdir())
    assert left == ["000001_locals", f"deepspeed_allreduce_buffer_{os.getuid()}_127.0.0.1_2951_0"]


def test_segments_whose_name_another_job_took_since_stay(shared_memory: Path, tmp_path: Path) -> None:
    segment = _file(shared_memory / "000003_next_epoch")
    residue.note_streaming_segments(tmp_path, 3)
    segment.rename(shared_memory / "kept-inode")  # keeps the inode in use, so that the new file gets another
    _file(segment)
    assert residue.remove_streaming_segments(tmp_path) == 0
    assert segment.exists()


def test_a_temporary_folder_too_deep_for_sockets_is_refused_before_any_point_starts() -> None:
    """The longest that is allowed carries a socket of multiprocessing's; one more byte does not."""
    most = Path("/" + "x" * (107 - len("/scaling-point-0123456789ab/pymp-abcdefgh/listener-abcdefgh") - 1))
    residue.check_scratch_length(most)
    with pytest.raises(ValueError, match="TMPDIR: /x+ is 49 bytes long.* leaves 48 .* shorter folder"):
        residue.check_scratch_length(Path(f"{most}x"))


def test_a_socket_in_the_longest_scratch_folder_can_be_made(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as short:
        scratch = Path(short, "y" * (107 - len("/pymp-abcdefgh/listener-abcdefgh") - len(short) - 1))
        scratch.mkdir()
        code = "from multiprocessing import connection; connection.Listener()"
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(scratch)}, check=True)
        longer = Path(f"{scratch}y")
        longer.mkdir()
        ended = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(longer)}, capture_output=True
        )
        assert b"AF_UNIX path too long" in ended.stderr
