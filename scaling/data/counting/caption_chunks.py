"""Maps a function over the captions of an MDS folder, chunk by chunk, in many processes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from scaling.data.indexed import last_opened
from scaling.data.progress import bar
from scaling.data.worker_pool import worker_pool

SAMPLES_PER_CHUNK = 4096  # a tenth of a second of work; the same for any number of processes

Result = TypeVar("Result")


def map_captions(
    function: Callable[[list[str]], Result], folder: Path, *, workers: int, progress: bool
) -> Iterator[Result]:
    """The result of `function` for each chunk of captions, in order; chunks do not depend on the number of workers.

    A sample with several captions gives them all.  Images are not decoded.
    """
    dataset = last_opened(folder)
    starts = range(0, len(dataset), SAMPLES_PER_CHUNK)
    chunks = [range(start, min(start + SAMPLES_PER_CHUNK, len(dataset))) for start in starts]
    work = functools.partial(_on_chunk, function, folder)
    with bar("samples", enabled=progress) as shown:
        task = shown.add_task("", total=len(dataset))
        for chunk, result in zip(chunks, _results(work, chunks, min(workers, len(chunks))), strict=True):
            shown.update(task, completed=chunk.stop)
            yield result


def _results(work: Callable[[range], Result], chunks: list[range], workers: int) -> Iterator[Result]:
    if workers <= 1:
        yield from map(work, chunks)
        return
    with worker_pool(workers, preload=__name__) as pool:
        yield from pool.map(work, chunks)


def _on_chunk(function: Callable[[list[str]], Result], folder: Path, chunk: range) -> Result:
    dataset = last_opened(folder)
    samples = (dataset[index] for index in chunk)
    return function([text for sample in samples for text in sample.get("captions") or [sample["caption"]]])
