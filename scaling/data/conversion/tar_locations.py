"""Where tars come from (files, folders, patterns, object stores, commands), and fetching one to this machine."""

from __future__ import annotations

import glob
import hashlib
import itertools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from scaling.data.conversion.optional_packages import optional_module
from scaling.data.samples import Readings
from scaling.records import WriteError

READ_BYTES = 1 << 20
PIPE = "pipe:"  # as in webdataset: the rest is a shell command that prints a tar
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")


def is_remote(location: str) -> bool:
    """Whether the location is a URL or a command rather than a path of this machine."""
    return location.startswith(PIPE) or "://" in location


def is_pattern(location: str) -> bool:
    """Whether it stands for several files: {000..012}, {a,b}, * or [0-9]."""
    return any(expression.search(location) for expression in (_RANGE, _CHOICE)) or (
        not location.startswith(PIPE) and glob.has_magic(location)
    )


def expand_braces(pattern: str) -> list[str]:
    """What bash expands {000..012} and {a,b} to, in its order; leading zeros of the start fix the width."""
    pieces, choices = [], []
    rest = pattern
    while found := min(
        filter(None, (_RANGE.search(rest), _CHOICE.search(rest))),
        key=lambda match: match.start(),
        default=None,
    ):
        pieces.append(rest[: found.start()])
        choices.append(_numbers(found[1], found[2]) if found.re is _RANGE else found[1].split(","))
        rest = rest[found.end() :]
    return ["".join(itertools.chain(*zip(pieces, chosen), [rest])) for chosen in itertools.product(*choices)]


def _numbers(first: str, last: str) -> list[str]:
    start, end = int(first), int(last)
    step = 1 if end >= start else -1
    width = len(first) if first.startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(start, end + step, step)]


def matches(pattern: str) -> list[str]:
    """The files, URLs or commands that a location stands for; ValueError for a pattern that matches nothing."""
    found = [match for expanded in expand_braces(pattern) for match in _globbed(expanded)]
    if not found:
        raise ValueError(
            f"{pattern} matches no file: check the pattern (quote it, so that the shell leaves it)."
        )
    return found


def _globbed(location: str) -> list[str]:
    if location.startswith(PIPE) or not glob.has_magic(location):
        return [location]
    if "://" not in location:
        return sorted(glob.glob(location, recursive=True))
    files = _fsspec().open_files(location, "rb")
    return [file.fs.unstrip_protocol(file.path) for file in files]


def known_bytes(location: str) -> int | None:
    """The size of a file or of what a URL names; None where only reading tells."""
    if location.startswith(PIPE):
        return None
    try:
        if "://" not in location:
            return Path(location).stat().st_size
        file = _fsspec().open(location, "rb")
        size = file.fs.info(file.path).get("size")
        return None if size is None else int(size)
    except Exception as error:  # every client of an object store has exceptions of its own
        raise ValueError(f"{location} cannot be read ({_reason(error)}).") from error


def fetched(location: str, scratch: Path) -> tuple[Path, Readings]:
    """A local file with the bytes of `location`, and their number and sha256; ValueError if it cannot be read."""
    try:
        if not is_remote(location):
            return Path(location), _measured(Path(location))
        scratch.mkdir(parents=True, exist_ok=True)
        path = scratch / "source"
        with open(path, "wb") as copy:
            if location.startswith(PIPE):
                return path, _copied(_printed(location.removeprefix(PIPE)), copy)
            with _fsspec().open(location, "rb") as stream:
                return path, _copied(_blocks(stream), copy)
    except (ValueError, WriteError):
        raise
    except Exception as error:  # every client of an object store has exceptions of its own
        raise ValueError(f"{location} cannot be read ({_reason(error)}).") from error


def _measured(path: Path) -> Readings:
    with open(path, "rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        return Readings(num_bytes=stream.tell(), sha256=sha256)


def _copied(blocks: Iterator[bytes], copy: BinaryIO) -> Readings:
    digest, num_bytes = hashlib.sha256(), 0
    for block in blocks:
        digest.update(block)
        try:
            num_bytes += copy.write(block)
        except OSError as error:
            raise WriteError(
                f"{copy.name}: a copy of the source cannot be kept ({error.strerror})."
            ) from error
    return Readings(num_bytes=num_bytes, sha256=digest.hexdigest())


def _blocks(stream: Any) -> Iterator[bytes]:
    while block := stream.read(READ_BYTES):
        yield block


def _printed(command: str) -> Iterator[bytes]:
    """What a shell command prints, block by block; ValueError at the end if it fails, as output may be missing."""
    with subprocess.Popen(
        ["/bin/bash", "-o", "pipefail", "-c", command], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        yield from _blocks(process.stdout)
    if process.returncode:
        raise ValueError(
            f"{PIPE}{command} ended with status {process.returncode}, so its output is not used: run it in a shell "
            "to see why."
        )


def _fsspec() -> Any:
    return optional_module("fsspec", purpose="tars at a URL")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
