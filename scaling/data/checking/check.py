"""`scaling data check`: finds everything that is wrong with an MDS folder, and describes what is in it.

Every shard is compared with the index (presence, size, hashes) and with itself (its own count, its offsets), and a
share of the samples is decoded as training would decode them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from scaling.data.checking.check_index import against_manifest, read_index, stated_rejects, unlisted
from scaling.data.checking.check_shard import Example, ShardFindings, ShardRequest, check_shard
from scaling.data.conversion.labelled_sources import read_lines
from scaling.data.labelled import CLASS_NAMES
from scaling.data.progress import bar
from scaling.data.verified_shards import keep_stamp
from scaling.inputs.data_paths import HOW_TO_MAKE_DATA

NUM_EXAMPLES = 24
SET_DEPTH = 3  # DIR, DIR/train, DIR/labelled/train


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SetReport:
    """What a check found in one MDS folder."""

    folder: Path
    num_samples: int  # by the index
    num_shards: int
    num_bytes: int  # by the index
    num_hashed: int  # shards whose hashes were compared
    sizes: list[tuple[int, int]]  # width and height of the decoded images, pixels
    caption_lengths: list[int]  # of the samples read, characters
    rejects: dict[str, int]  # left out when it was converted, by reason
    examples: list[Example]
    damages: list[str]  # each naming its file
    remarks: list[str]  # what could not be verified


def find_sets(folder: Path) -> list[Path]:
    """The MDS folders at or below `folder`; ValueError if there are none."""
    found = [*_sets_below(folder, SET_DEPTH)]
    if not found:
        missing = "has no index.json" if folder.is_dir() else "does not exist or is not a folder"
        raise ValueError(f"{folder} {missing}: it holds no MDS shards. {HOW_TO_MAKE_DATA}")
    return found


def _sets_below(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "index.json").exists():
        yield folder
    elif depth > 1 and folder.is_dir():
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _sets_below(entry, depth - 1)


def check_set(
    folder: Path, *, decode: float = 0.01, num_examples: int = 0, workers: int = 1, progress: bool = True
) -> SetReport:
    """What is in an MDS folder and all that is wrong with it; ValueError unless `decode` is from 0 to 1.

    A set that was hashed and found whole gets a stamp, so that no run hashes it again.
    """
    if not 0 <= decode <= 1:
        raise ValueError(f"--decode {decode} must be a share of the samples, from 0 to 1.")
    shards, damages = read_index(folder / "index.json")
    requests = _requests(folder, shards, decode, num_examples)
    findings = _findings(requests, workers=workers, progress=progress)
    damages += [damage for found in findings for damage in found.damages]
    damages += [*unlisted(folder, shards), *against_manifest(folder, shards)]
    remarks = [remark for found in findings for remark in found.remarks]
    if not damages and not remarks and shards:
        remarks += filter(None, [keep_stamp(folder)])
    return SetReport(
        folder=folder,
        num_samples=sum(shard["samples"] for shard in shards),
        num_shards=len(shards),
        num_bytes=sum((shard.get("zip_data") or shard["raw_data"])["bytes"] for shard in shards),
        num_hashed=sum(found.is_hashed for found in findings),
        sizes=[size for found in findings for size in found.sizes],
        caption_lengths=[length for found in findings for length in found.caption_lengths],
        rejects=stated_rejects(folder),
        examples=[example for found in findings for example in found.examples],
        damages=damages,
        remarks=remarks,
    )


def _requests(
    folder: Path, shards: list[dict[str, Any]], decode: float, num_examples: int
) -> list[ShardRequest]:
    """One request per shard: which of its samples to decode, and which to show as examples."""
    starts = np.cumsum([0, *(shard["samples"] for shard in shards)])
    total = int(starts[-1])
    decoded = _spread(total, int(np.ceil(total * decode)))
    shown = _spread(total, min(num_examples, total))
    labels = folder.parent / CLASS_NAMES
    num_classes = len(read_lines(labels)) if labels.is_file() else None
    return [
        ShardRequest(
            folder=folder,
            shard=shard,
            first_sample=int(start),
            decode=_between(decoded, int(start), int(end)),
            show=_between(shown, int(start), int(end)),
            num_classes=num_classes,
        )
        for shard, start, end in zip(shards, starts[:-1], starts[1:], strict=True)
    ]


def _spread(total: int, count: int) -> list[int]:
    """`count` indices below `total`, evenly spaced from 0 on."""
    return [place * total // count for place in range(count)]


def _between(places: list[int], start: int, end: int) -> tuple[int, ...]:
    """The indices from start up to end, relative to start."""
    first, last = np.searchsorted(places, [start, end])
    return tuple(place - start for place in places[first:last])


def _findings(requests: list[ShardRequest], *, workers: int, progress: bool) -> list[ShardFindings]:
    """The findings of each shard.  By threads: hashing and decoding release the interpreter lock."""
    findings = []
    with ThreadPoolExecutor(workers) as threads, bar("shards", enabled=progress) as shown:
        task = shown.add_task("", total=len(requests), samples=0)
        num_samples = 0
        for request, found in zip(requests, threads.map(check_shard, requests), strict=True):
            findings.append(found)
            num_samples += request.shard["samples"]
            shown.update(task, advance=1, samples=num_samples)
    return findings
