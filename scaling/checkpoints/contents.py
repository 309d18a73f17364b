"""The files of a checkpoint: what they say, and how damage to them is detected."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import xxhash
from pydantic import BaseModel, ConfigDict, ValidationError

from scaling.train.engines.protocol import PieceKind

FORMAT_VERSION = 1
HEADER = "checkpoint.json"

EntryKind = PieceKind | Literal["random_state", "label_statistics"]


class DamagedCheckpoint(RuntimeError):
    """A checkpoint does not hold what was written to it: a file is missing, cut or changed."""


class UnreadableCheckpoint(RuntimeError):
    """An intact checkpoint that this code cannot continue: of another format, or of another model."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Entry(_Frozen):
    """One flat tensor of a data file."""

    name: str
    kind: EntryKind
    dtype: str  # as torch prints it
    shape: tuple[int, ...]  # of the whole tensor
    start: int  # index of the first element here, in the whole tensor flattened row-major
    length: int  # elements
    xxh64: str  # of the bytes

    @property
    def key(self) -> str:
        """The tensor's name in the data file."""
        return key_of(self.kind, self.name, self.start)


class Manifest(_Frozen):
    """What one rank's data file holds."""

    data_bytes: int  # size of the data file
    entries: tuple[Entry, ...]
    state_hash: dict[str, int]  # by kind, of this rank's pieces (scaling.checkpoints.state_hash)


class Header(_Frozen):
    """Everything in a checkpoint that is not a tensor."""

    version: int = FORMAT_VERSION
    progress: dict[str, Any]  # scaling.train.progress.Progress
    optimizer_steps: int
    environment: dict[str, str]  # code, libraries and machine that wrote it
    state_hash: dict[str, int]  # by kind, of the whole state
    manifests: tuple[str, ...]  # the seal of each rank's


Content = TypeVar("Content", bound=_Frozen)


def key_of(kind: str, name: str, start: int) -> str:
    """The name of a flat tensor in a data file."""
    return f"{kind}/{name}/{start}"


def data_file(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank:05d}.safetensors"


def manifest_file(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank:05d}.json"


def sealed(content: _Frozen) -> str:
    """The text of a file whose damage can be detected: JSON in one line, its checksum (the seal) in the next."""
    line = content.model_dump_json()
    return f"{line}\n{_seal(line)}\n"


def seal_of(text: str) -> str:
    """The seal of a sealed text."""
    return text.rstrip("\n").rpartition("\n")[2]


def unsealed(path: Path, model: type[Content], seal: str | None = None) -> Content:
    """The content of a sealed file; DamagedCheckpoint if it is not what was written, or not what `seal` names."""
    try:
        line, _, own = path.read_text(encoding="utf-8").rstrip("\n").rpartition("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedCheckpoint(f"{path.name} cannot be read ({error})") from error
    if own != _seal(line) or seal not in (None, own):
        raise DamagedCheckpoint(f"{path.name} is cut or changed: its checksum differs")
    try:
        return model.model_validate_json(line)
    except ValidationError as error:
        raise UnreadableCheckpoint(
            f"{path} is in a format that this version does not know ({error.errors()[0]['msg']}): continue with the "
            "version that wrote it, or delete the run's folder checkpoints to start anew."
        ) from error


def _seal(line: str) -> str:
    return str(xxhash.xxh64_hexdigest(line))
