"""Readers of training streams in forked processes: each rank its own, with nothing left in shared memory after it.

Forks of a process that imported streaming begin at once, where a new interpreter needs seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from scaling.data.batches import CaptionSettings
from scaling.data.images.augmentation import Augmentation
from scaling.data.shards import IMAGE_TEXT_COLUMNS
from scaling.data.stream.machine_lock import one_at_a_time_on_this_machine
from scaling.data.stream.sources import StreamSource
from scaling.data.stream.training_stream import StreamSettings, TrainingStream
from scaling.data.text.tokenizers import load_tokenizer
from scaling.launching.agreement import free_port


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """Which steps to read of which stream, and by how many."""

    settings: StreamSettings
    start: int = 0
    stop: int = 4
    ranks: int = 1
    workers: int = 0


def settings_of(*sources: StreamSource | Path, global_batch: int = 24, **others: Any) -> StreamSettings:
    """Settings of tiny pictures, which need not decode."""
    return StreamSettings(
        **{
            "sources": tuple(s if isinstance(s, StreamSource) else StreamSource(local=s) for s in sources),
            "seed": 0,
            "global_batch": global_batch,
            "image_size": 16,
            "augmentation": Augmentation(),
            "captions": CaptionSettings(kind="tokens", context_length=16),
            "worker_timeout_seconds": 60,
            **others,
        }
    )


def write_set(folder: Path, captions: Sequence[str], *, compression: str | None = None) -> Path:
    """An MDS set in shards of about eight samples, whose keys are their numbers and whose images are none."""
    shutil.copytree(_written(tuple(captions), compression), folder)
    return folder


@functools.cache
def _written(captions: tuple[str, ...], compression: str | None) -> Path:
    """Such a set, to be copied: streaming's writer takes a second for each, most of it asleep."""
    from streaming import MDSWriter

    folder = Path(tempfile.mkdtemp()) / "set"
    atexit.register(shutil.rmtree, folder.parent)
    columns = {**IMAGE_TEXT_COLUMNS, "pad": "bytes"}
    with MDSWriter(
        out=str(folder), columns=columns, hashes=["xxh64"], size_limit=8 * 1024, compression=compression
    ) as writer:
        for number, caption in enumerate(captions):
            head = {"jpg": b"", "caption": caption, "key": str(number)}
            writer.write({**head, "pad": bytes(970 - sum(map(len, head.values())))})
    return folder


def lie(folder: Path, shard: int, **changed: Any) -> None:
    """Change what the index says of one shard."""
    index = json.loads((folder / "index.json").read_text())
    index["shards"][shard].update(changed)
    (folder / "index.json").write_text(json.dumps(index))


def read(reading: Reading, scratch: Path, timeout: float = 60) -> list[list[tuple[int, int, int]]]:
    """The global batches: sorted (id, sum of pixels, sum of tokens) of all ranks together."""
    shares = in_children(_read, reading, ranks=reading.ranks, scratch=scratch, timeout=timeout)
    return [sorted(sum(step, [])) for step in zip(*shares, strict=True)]


def ids(batches: list[list[tuple[int, int, int]]]) -> list[list[int]]:
    return [[row[0] for row in batch] for batch in batches]


def open_stream(reading: Reading) -> TrainingStream:
    """In a child: the stream of this rank."""
    with one_at_a_time_on_this_machine(os.environ["LOCAL_RANK"] == "0", _barrier):
        return TrainingStream(
            reading.settings,
            load_tokenizer("clip_bpe_4k"),
            num_ranks=reading.ranks,
            num_workers=reading.workers,
            pin_memory=False,
        )


def in_children(
    work: Callable[..., Any],
    *arguments: Any,
    ranks: int = 1,
    scratch: Path,
    timeout: float = 60,
    joined: bool = True,
) -> list[Any]:
    """What the function returns in a forked process per rank; what it raises there is raised here.

    The processes are one group, unless they are not `joined`.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    context, port, children = multiprocessing.get_context("fork"), free_port(), []
    # as short as a run's, since names of sockets are limited; orphans may still clean up in it
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        for rank in range(ranks):
            receiver, sender = context.Pipe(duplex=False)
            place = (rank, ranks, port if joined else 0, scratch / f"log-{rank}.txt", temporary)
            process = context.Process(target=_child, args=(sender, place, work, arguments))
            process.start()
            sender.close()
            children.append((process, receiver))
        outcomes = [_outcome(process, receiver, timeout) for process, receiver in children]
        for process, _ in children:
            _end(process)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return outcomes


def _end(process: BaseProcess) -> None:
    """Wait for a process, but not for orphans it left, as join does: they hold the other end of its pipe."""
    deadline = time.monotonic() + 10
    while process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    if process.is_alive():
        process.kill()


def _outcome(process: BaseProcess, receiver: Connection, timeout: float) -> Any:
    deadline = time.monotonic() + timeout
    while not receiver.poll(0.05):  # an orphan may hold the other end, so that no end of it is seen
        if not process.is_alive() and not receiver.poll():
            return RuntimeError("the reader died")
        if time.monotonic() > deadline:
            return TimeoutError(f"the reader hangs: nothing in {timeout} seconds")
    try:
        return receiver.recv()
    except EOFError:
        return RuntimeError("the reader died")


def _child(sender: Connection, place: tuple[int, int, int, Path, str], work: Any, arguments: Any) -> None:
    rank, ranks, port, log_file, temporary = place
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ.update(WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks), TMPDIR=temporary)
    tempfile.tempdir = None
    atexit._clear()  # the parent's
    with open(log_file, "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        with _process_group(ranks if port else 1):
            sender.send(work(*arguments))
    except Exception as error:
        traceback.print_exc()
        sender.send(error)
    atexit._run_exitfuncs()  # streaming's: they remove its shared memory
    os._exit(0)


@contextlib.contextmanager
def _process_group(ranks: int) -> Iterator[None]:
    import torch.distributed as dist

    if ranks > 1:
        dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    yield


def _barrier() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()


def _read(reading: Reading) -> list[list[tuple[int, int, int]]]:
    rows = []
    for batch in open_stream(reading).batches(reading.start, reading.stop):
        pixels = batch.images_BCHW.long().sum((1, 2, 3)).tolist()
        tokens = getattr(batch.targets, "tokens_BL").sum(1).tolist()
        rows.append(list(zip(batch.sample_ids_B.tolist(), pixels, tokens, strict=True)))
    return rows
