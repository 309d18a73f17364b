"""What a point leaves in shared memory and temporary folders, and its removal: ours only, never another job's."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from scaling.processes.orphans import process_exists
from scaling.records import write_atomically

SHARED_MEMORY = Path("/dev/shm")
SCRATCH_PREFIX = "scaling-point-"  # of the temporary folder of a point
SCRATCH_NAME_HEX = 12  # digits after it
_SEGMENTS_FILE = "streaming-segments.json"
_OWNER_FILE = "owner.json"
_SOCKET_PATH_BYTES = 107  # sun_path of unix(7), without its final NUL
# of multiprocessing's sockets, through which workers send batches
_SOCKET_NAME_BYTES = len("/pymp-12345678/listener-12345678")


def remove_allreduce_buffers(port: int) -> int:
    """Remove DeepSpeed's CPU all-reduce buffers of the group that met at `port`; the bytes freed.

    DeepSpeed 0.19.8 maps 66 MiB per rank under a name of user, address and port and never unlinks it
    (csrc/cpu/comm/shm.cpp), also on a clean exit.
    """
    freed = 0
    for path in SHARED_MEMORY.glob(f"deepspeed_allreduce_buffer_{os.getuid()}_*_{port}_*"):
        freed += _unlink(path)
    return freed


def note_streaming_segments(scratch: Path, prefix: int) -> None:
    """Remember which shared-memory segments a StreamingDataset with this prefix owns, by inode."""
    names = SHARED_MEMORY.glob(f"{prefix:06d}_*")
    inodes = {path.name: path.stat().st_ino for path in names}
    write_atomically(scratch / _SEGMENTS_FILE, json.dumps(inodes))


def remove_streaming_segments(scratch: Path) -> int:
    """Remove the noted segments and return the bytes freed; a name that another job has taken since is kept.

    Children end without Python's exit handlers, in which streaming would have done this, so it is done here for
    finished and killed children alike.
    """
    note = scratch / _SEGMENTS_FILE
    if not note.exists():
        return 0
    noted = json.loads(note.read_text())
    owned = [SHARED_MEMORY / name for name, inode in noted.items() if _has_inode(SHARED_MEMORY / name, inode)]
    freed = 0
    for prefix in {path.name.split("_")[0] for path in owned}:
        for path in SHARED_MEMORY.glob(f"{prefix}_*"):  # those of the running epoch were made after the note
            freed += _unlink(path)
    return freed


def check_scratch_length(temporary: Path) -> None:
    """ValueError if sockets in a point's temporary folder would have longer paths than the system allows.

    A loader's worker could then send no batch, and would say so only in its log.
    """
    most = _SOCKET_PATH_BYTES - _SOCKET_NAME_BYTES - len(f"/{SCRATCH_PREFIX}") - SCRATCH_NAME_HEX
    if len(os.fsencode(temporary)) > most:
        raise ValueError(
            f"TMPDIR: {temporary} is {len(os.fsencode(temporary))} bytes long; a socket's path has at most "
            f"{_SOCKET_PATH_BYTES}, which leaves {most} for it. Set TMPDIR to a shorter folder of this machine, /tmp "
            "say."
        )


def claim_scratch(scratch: Path, port: int) -> None:
    """Make a point's temporary folder and note whose it is, so that a later launch can clear up after a SIGKILL."""
    scratch.mkdir()
    write_atomically(scratch / _OWNER_FILE, json.dumps({"pid": os.getpid(), "port": port}))


def remove_point(scratch: Path, port: int) -> None:
    """Remove all that a point left on this machine; none of its processes may be alive."""
    remove_allreduce_buffers(port)
    remove_streaming_segments(scratch)
    shutil.rmtree(scratch, ignore_errors=True)


def remove_orphans(temporary: Path) -> int:
    """The number of points cleared up whose parent on this machine was killed before it could do so itself."""
    cleared = 0
    for owner in temporary.glob(f"{SCRATCH_PREFIX}*/{_OWNER_FILE}"):
        note = json.loads(owner.read_text())
        if owner.stat().st_uid == os.getuid() and not process_exists(note["pid"]):
            remove_point(owner.parent, note["port"])
            cleared += 1
    return cleared


def _has_inode(path: Path, inode: int) -> bool:
    return path.exists() and path.stat().st_ino == inode


def _unlink(path: Path) -> int:
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size
