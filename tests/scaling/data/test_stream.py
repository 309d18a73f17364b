from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling.data.drawing import draw_scene, encode_jpeg
from scaling.data.scenes import sample_scene
from scaling.data.shards import IMAGE_TEXT_COLUMNS, merge_indexes, write_shards

READER = """
import json, os, sys, tempfile
from pathlib import Path
rank, num_ranks, folder, batch, start, stop, workers = sys.argv[1:8]
os.environ.update(RANK=rank, WORLD_SIZE=num_ranks, LOCAL_RANK=rank, LOCAL_WORLD_SIZE=num_ranks,
                  MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[8], TMPDIR=sys.argv[9])
import torch
if int(num_ranks) > 1:
    torch.distributed.init_process_group("gloo")
from scaling.data.batches import CaptionSettings
from scaling.data.stream import StreamSettings, TrainingStream
from scaling.data.tokenizers import load_tokenizer
settings = StreamSettings(folder=Path(folder), seed=0, global_batch=int(batch), image_size=16, crop_scale_min=0.9,
                          crop_scale_max=1.0, captions=CaptionSettings(kind="tokens", context_length=16))
stream = TrainingStream(settings, load_tokenizer("clip_bpe_4k"), num_ranks=int(num_ranks), num_workers=int(workers),
                        pin_memory=False)
for batch in stream.batches(int(start), int(stop)):
    rows = zip(batch.sample_ids_B.tolist(), batch.images_BCHW.long().sum((1, 2, 3)).tolist(),
               batch.targets.tokens_BL.sum(1).tolist())
    print(json.dumps(sorted(rows)), flush=True)
"""


def _read(
    folder: Path,
    scratch: Path,
    *,
    ranks: int = 1,
    batch: int = 24,
    start: int = 0,
    stop: int = 20,
    workers: int = 0,
) -> list[list[Any]]:
    """The global batches of steps start to stop: sorted (id, sum of pixels, sum of tokens) of all ranks together."""
    import json

    from scaling.agreement import free_port

    scratch.mkdir(parents=True, exist_ok=True)
    common = [str(folder), str(batch), str(start), str(stop), str(workers), str(free_port()), str(scratch)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(READER), str(rank), str(ranks), *common],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(ranks)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors[-2000:]
    shares = [[json.loads(line) for line in output.splitlines()] for output, _ in outputs]
    return [sorted(sum(step, [])) for step in zip(*shares, strict=True)]


@pytest.mark.slow
def test_global_batches_do_not_depend_on_ranks_and_a_resume_continues_them_over_epochs(
    small_rendering: Path, tmp_path: Path
) -> None:
    """300 samples in batches of 24 make epochs of 12 steps; steps 0 to 19 reach into the second."""
    folder = small_rendering / "train"
    whole = _read(folder, tmp_path / "a")
    assert len(whole) == 20 and all(len({row[0] for row in batch}) == 24 for batch in whole)
    first_epoch = [row[0] for batch in whole[:12] for row in batch]
    assert len(set(first_epoch)) == len(first_epoch), "an epoch shows no sample twice"
    assert _read(folder, tmp_path / "b", ranks=2) == whole
    assert _read(folder, tmp_path / "c", start=5) == whole[5:]
    assert _read(folder, tmp_path / "d", start=12, workers=1) == whole[12:], "exactly at the end of an epoch"


@pytest.mark.slow
def test_a_missing_shard_is_an_error_and_never_a_shorter_run(small_rendering: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "train"
    shutil.copytree(small_rendering / "train", folder)
    next(folder.rglob("shard.*.mds")).unlink()
    with pytest.raises(AssertionError, match="shard|DataExhausted|No such file"):
        _read(folder, tmp_path / "scratch")


@pytest.mark.slow
def test_the_caption_shown_is_a_function_of_seed_sample_and_epoch_and_all_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    part = folder / "part-00000"
    part.mkdir(parents=True)
    picture = encode_jpeg(draw_scene(sample_scene(0, "train", 0), 32))
    samples = [
        {"jpg": picture, "caption": "one", "captions": ["one", "two", "three"], "key": f"{index}"}
        for index in range(48)
    ]
    write_shards(part, {**IMAGE_TEXT_COLUMNS, "captions": "json"}, samples, size_limit=2**20)
    merge_indexes(folder, [part])
    epochs = _read(folder, tmp_path / "x", stop=6)
    by_epoch = [
        {row[0]: row[2] for batch in epochs[2 * epoch : 2 * epoch + 2] for row in batch} for epoch in range(3)
    ]
    assert by_epoch[0] != by_epoch[1], "another epoch, other captions"
    counts = np.bincount(
        np.unique([list(epoch.values()) for epoch in by_epoch], return_inverse=True)[1].ravel()
    )
    assert len(counts) == 3 and counts.min() > 20, "48 samples x 3 epochs over three captions"
