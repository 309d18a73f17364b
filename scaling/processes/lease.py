"""Who may write to a run: leases with a heartbeat and a fencing token, on plain files (NFS and Lustre included).

A run's leases are numbered files `leases/000001.json`, ...; creating the next number is atomic, the highest
number holds the run, and the number is the fencing token: a holder that was paused and superseded fails the check
before its next rename, so it cannot overwrite the work of its successor.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path

from scaling.processes.orphans import process_exists
from scaling.records import WriteError, write_atomically

EXPIRES_SECONDS = 60.0  # without a heartbeat; file systems of clusters may show a file seconds late
HEARTBEAT_SECONDS = 10.0


class LeaseLost(RuntimeError):
    """Another launcher took the run over; this one must stop writing to it."""


class Lease:
    """The right to write to one run, held by one launcher."""

    def __init__(self, folder: Path, token: int) -> None:
        self.token = token
        self._folder = folder
        self._renewed = 0.0
        self._ended = threading.Event()
        self._lock = threading.Lock()  # a late renewal must not undo the release

    @classmethod
    def acquire(cls, run: Path) -> Lease | None:
        """A lease on the run, None while a living launcher holds one."""
        folder = run / "leases"
        folder.mkdir(parents=True, exist_ok=True)
        latest = _latest_token(folder)
        if latest and _is_alive(_read(folder, latest)):
            return None
        if not _create(folder, latest + 1):
            return None  # another launcher was faster
        lease = cls(folder, latest + 1)
        threading.Thread(target=lease._keep, daemon=True, name="keep-lease").start()
        return lease

    def _keep(self) -> None:
        """Renew in a thread: the holder may be busy for longer than a lease lasts, as while its first child imports."""
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                self.renew()
            except (LeaseLost, WriteError):  # the holder sees it when it renews, or writes, itself
                return

    def renew(self) -> None:
        """Show that the holder lives; cheap to call often. Raises LeaseLost when superseded."""
        with self._lock:
            if self._ended.is_set() or time.monotonic() - self._renewed < HEARTBEAT_SECONDS:
                return
            check_lease(self._folder.parent, self.token)
            write_atomically(_path(self._folder, self.token), json.dumps(_holder()))
            self._renewed = time.monotonic()

    def release(self) -> None:
        """Let others have the run at once."""
        with self._lock:
            self._ended.set()
            write_atomically(_path(self._folder, self.token), json.dumps({**_holder(), "released": True}))


def check_lease(run: Path, token: int) -> None:
    """Raise LeaseLost if a launcher with a higher token has taken over the run."""
    latest = _latest_token(run / "leases")
    if latest != token:
        raise LeaseLost(f"{run}: another launcher (lease {latest}) took over from this one (lease {token}).")


def is_held(run: Path) -> bool:
    """Whether a living launcher holds the run."""
    folder = run / "leases"
    return _is_alive(_read(folder, _latest_token(folder)))


def holder_of(run: Path) -> str:
    """ "host, process 123" of the latest lease, for messages."""
    folder = run / "leases"
    holder = _read(folder, _latest_token(folder))
    return f"{holder.get('host')}, process {holder.get('pid')}"


def _path(folder: Path, token: int) -> Path:
    return folder / f"{token:06d}.json"


def _latest_token(folder: Path) -> int:
    return max((int(path.stem) for path in folder.glob("[0-9]*.json")), default=0)


def _holder() -> dict[str, object]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "renewed_at": time.time(), "released": False}


def _create(folder: Path, token: int) -> bool:
    aside = folder / f".{uuid.uuid4().hex}.tmp"
    write_atomically(aside, json.dumps(_holder()))
    try:
        os.link(aside, _path(folder, token))
    except FileExistsError:
        return False
    finally:
        aside.unlink(missing_ok=True)
    return True


def _read(folder: Path, token: int) -> dict[str, object]:
    try:
        holder: dict[str, object] = json.loads(_path(folder, token).read_text())
    except FileNotFoundError:
        return {}
    return holder


def _is_alive(holder: dict[str, object]) -> bool:
    if not holder or holder["released"]:
        return False
    if holder["host"] == socket.gethostname() and not process_exists(int(str(holder["pid"]))):
        return False
    return time.time() - float(str(holder["renewed_at"])) < EXPIRES_SECONDS
