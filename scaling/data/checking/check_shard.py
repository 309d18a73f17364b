"""Checks one shard of an MDS folder: against the index, against itself, and sample by sample."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from scaling.data.file_hashes import file_hashes
from scaling.data.images.transforms import UndecodableImage, decode

HOW_TO_MEND = "copy or convert the data set again"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ShardRequest:
    """A shard to check."""

    folder: Path
    shard: dict[str, Any]  # its entry in the index
    first_sample: int  # its place in the set
    decode: tuple[int, ...]  # its samples whose images are decoded
    show: tuple[int, ...]  # its samples that become examples
    num_classes: int | None  # of a labelled set


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A sample to look at."""

    image: bytes
    caption: str


@dataclasses.dataclass(slots=True)
class ShardFindings:
    """What a shard holds and what is wrong with it."""

    damages: list[str] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)
    is_hashed: bool = False
    sizes: list[tuple[int, int]] = dataclasses.field(default_factory=list)  # width, height of decoded images
    caption_lengths: list[int] = dataclasses.field(default_factory=list)  # characters
    examples: list[Example] = dataclasses.field(default_factory=list)


def check_shard(request: ShardRequest) -> ShardFindings:
    """What is in a shard and all that is wrong with it; samples are read only if the file is as the index says."""
    found = ShardFindings()
    file = request.shard.get("zip_data") or request.shard["raw_data"]
    path = request.folder / file["basename"]
    try:
        if not _is_intact(path, file, found):
            return found
        if not request.shard.get("zip_data"):
            _check_content(request, request.folder, found)
            return found
        with tempfile.TemporaryDirectory() as scratch:
            _decompress(path, request.shard, Path(scratch))
            _check_content(request, Path(scratch), found)
    except OSError as error:
        found.damages.append(f"{path} cannot be read ({error.strerror or error}): {HOW_TO_MEND}")
    return found


def _is_intact(path: Path, file: dict[str, Any], found: ShardFindings) -> bool:
    """Whether a file is there and has the size and the hashes that the index says."""
    if not path.is_file():
        found.damages.append(f"{path} is missing: {HOW_TO_MEND}")
        return False
    size = path.stat().st_size
    if size != file["bytes"]:
        found.damages.append(f"{path} has {size:,} bytes, its index says {file['bytes']:,}: {HOW_TO_MEND}")
        return False
    stated = file.get("hashes") or {}
    wrong = {name: digest for name, digest in file_hashes(path, stated).items() if digest != stated[name]}
    for name, digest in wrong.items():
        found.damages.append(f"{path}: its {name} is {digest}, its index says {stated[name]}: {HOW_TO_MEND}")
    if not stated:
        found.remarks.append(f"{path}: the index holds no hash of it, changed bytes would not be noticed")
    found.is_hashed = bool(stated)
    return not wrong


def _decompress(path: Path, shard: dict[str, Any], scratch: Path) -> None:
    from streaming.base.compression import decompress  # 4 s: it brings every cloud's client

    raw = scratch / shard["raw_data"]["basename"]
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.write_bytes(decompress(shard["compression"], path.read_bytes()))


def _check_content(request: ShardRequest, folder: Path, found: ShardFindings) -> None:
    """The count and the offsets at the shard's beginning, then the samples that were asked for."""
    path = folder / request.shard["raw_data"]["basename"]
    name = request.folder / request.shard["raw_data"]["basename"]
    stated, size = request.shard["samples"], path.stat().st_size
    with open(path, "rb") as stream:
        counted = int.from_bytes(stream.read(4), "little")
        if counted != stated:
            found.damages.append(
                f"{name} holds {counted:,} samples, its index says {stated:,}: {HOW_TO_MEND}"
            )
            return
        offsets = np.frombuffer(stream.read(4 * (counted + 1)), "<u4").astype(np.int64)
    if len(offsets) != counted + 1 or offsets[-1] != size or (np.diff(offsets) < 0).any():
        found.damages.append(f"{name}: its table of samples does not fit its {size:,} bytes: {HOW_TO_MEND}")
        return
    _read_samples(request, folder, found)


def _read_samples(request: ShardRequest, folder: Path, found: ShardFindings) -> None:
    from streaming.base.format import reader_from_json  # 4 s: it brings transformers and every cloud's client

    shard = {**request.shard, "zip_data": None, "compression": None}
    reader = reader_from_json(str(folder), None, shard)
    for index in sorted({*request.decode, *request.show}):
        where = f"{request.folder / shard['raw_data']['basename']}, sample {index} ({request.first_sample + index:,})"
        try:
            sample = reader[index]
        except Exception as error:  # the reader raises what its column decoders raise
            found.damages.append(f"{where} cannot be read ({type(error).__name__}: {error}): {HOW_TO_MEND}")
            continue
        found.damages += [f"{where} {problem}" for problem in _problems(sample, request.num_classes, found)]
        if index in request.show:
            found.examples.append(Example(image=sample.get("jpg", b""), caption=sample.get("caption", "")))


def _problems(sample: dict[str, Any], num_classes: int | None, found: ShardFindings) -> list[str]:
    """Why a run could not use a sample, if so; notes the image's size and the caption's length in `found`."""
    missing = [column for column in ("jpg", "caption", "key") if column not in sample]
    if missing:
        return [f"has no column {missing[0]!r}: it was not made by `scaling data convert`"]
    problems = []
    found.caption_lengths.append(len(sample["caption"]))
    try:
        _, height, width = decode(sample["jpg"]).shape
        found.sizes.append((width, height))
    except UndecodableImage as error:
        problems.append(f"({sample['key']!r}) is no picture: {error}")
    label = sample.get("label")
    if num_classes is not None and label is not None and not 0 <= label < num_classes:
        problems.append(
            f"({sample['key']!r}) has the label {label}, classnames.txt names {num_classes} classes"
        )
    return problems
