"""Whether the shards of an MDS folder are whole: neither streaming nor its reader notices a flipped bit in one."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from scaling.data.file_hashes import file_hashes
from scaling.data.indexed import read_index, stored_shards
from scaling.records import WriteError, write_atomically

STAMP = ".verified.json"  # beside index.json: which files were hashed and found right
HASH_THREADS = 8  # xxhash and reads let go of the interpreter lock; the disk is the limit


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Preflight:
    """What `preflight` found in a folder whose shards are all there with the sizes that the index says."""

    num_shards: int
    num_bytes: int
    hashes: Literal["verified", "verified before", "not verified"]
    reason: str = ""  # why the content was not verified, or will be again next time


def preflight(folder: Path, *, hashes: bool = True) -> Preflight:
    """Check that the shards of an MDS folder are what its index says: names and sizes always, xxh64 once.

    A stamp beside the index spares the next run the reading of every byte, until a file changes.
    Raises ValueError naming the first bad shard.
    """
    files = _files(folder)
    for file in files:
        _check_size(folder, file)
    outcome = functools.partial(
        Preflight, num_shards=len(files), num_bytes=sum(file["bytes"] for file in files)
    )
    stamp = _stamp(folder)
    if _stamped(folder) == stamp:
        return outcome(hashes="verified before")
    if not hashes:
        return outcome(hashes="not verified", reason="not asked for")
    unhashed = next((file["basename"] for file in files if "xxh64" not in (file.get("hashes") or {})), None)
    if unhashed is not None:
        return outcome(hashes="not verified", reason=f"index.json holds no xxh64 of {unhashed}")
    with ThreadPoolExecutor(HASH_THREADS) as threads:
        list(threads.map(functools.partial(_check_hash, folder), files))
    return outcome(hashes="verified", reason=keep_stamp(folder))


def keep_stamp(folder: Path) -> str:
    """Write the stamp: every shard was verified as it is now.  Why it could not be written, "" if it was."""
    try:
        write_atomically(folder / STAMP, _stamp(folder))
    except WriteError as error:
        return f"no stamp could be kept: {error}"
    return ""


def _stamp(folder: Path) -> str:
    return json.dumps({"digest": read_index(folder).digest, "files": _fingerprint(folder, _files(folder))})


def _files(folder: Path) -> list[dict[str, Any]]:
    """The files of the shards as they stand on disk, with their sizes and hashes."""
    read_index(folder)
    return [dict(shard.get("zip_data") or shard["raw_data"]) for shard in stored_shards(folder)]


def _check_size(folder: Path, file: dict[str, Any]) -> None:
    size = (folder / file["basename"]).stat().st_size
    if size != file["bytes"]:
        raise ValueError(
            f"{folder / file['basename']} is damaged: {size:,} bytes, its index says {file['bytes']:,}. "
            "Copy or convert the data set again."
        )


def _check_hash(folder: Path, file: dict[str, Any]) -> None:
    found = file_hashes(folder / file["basename"], ["xxh64"])["xxh64"]
    if found != file["hashes"]["xxh64"]:
        raise ValueError(
            f"{folder / file['basename']} is damaged: its xxh64 is {found}, its index says "
            f"{file['hashes']['xxh64']}. Copy or convert the data set again."
        )


def _fingerprint(folder: Path, files: list[dict[str, Any]]) -> str:
    """A digest of every file's name, size and time of change: cheap, and different after a rewrite."""
    stats = [
        (file["basename"], file["bytes"], (folder / file["basename"]).stat().st_mtime_ns) for file in files
    ]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def _stamped(folder: Path) -> str | None:
    path = folder / STAMP
    return path.read_text(encoding="utf-8") if path.is_file() else None
