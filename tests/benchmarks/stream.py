"""The training stream against open_clip's transform on the same shards, both in one process and one thread.

The peer reads with plain StreamingDataset and prepares with open_clip's training transform (PIL, RandomResizedCrop,
float normalisation) and tokenizer; ours ships uint8 and normalises in one batched operation, which is included.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import open_clip
import torch
from open_clip.transform import image_transform
from PIL import Image
from streaming import StreamingDataset
from torch.utils.data import DataLoader

from scaling.data.batches import CaptionSettings
from scaling.data.rendered import RenderSettings, render
from scaling.data.stream import StreamSettings, TrainingStream
from scaling.data.tokenizers import load_tokenizer
from scaling.data.transforms import normalise

NUM_SAMPLES, BATCH, SIZE = 4096, 64, 48


def ours(folder: Path) -> Iterator[int]:
    settings = StreamSettings(
        folder=folder,
        seed=0,
        global_batch=BATCH,
        image_size=SIZE,
        crop_scale_min=0.9,
        crop_scale_max=1.0,
        captions=CaptionSettings(kind="tokens", context_length=32),
    )
    stream = TrainingStream(
        settings, load_tokenizer("clip_bpe"), num_ranks=1, num_workers=0, pin_memory=False
    )
    for batch in stream.batches(0, NUM_SAMPLES // BATCH):
        yield len(normalise(batch.images_BCHW))


def open_clips(folder: Path) -> Iterator[int]:
    transform = image_transform(SIZE, is_train=True, aug_cfg={"scale": (0.9, 1.0)})
    tokenizer = open_clip.get_tokenizer("ViT-B-32", context_length=32)

    class Prepared(StreamingDataset):  # type: ignore[misc]
        def get_item(self, sample_id: int, retry: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
            sample = super().get_item(sample_id, retry)
            return transform(Image.open(io.BytesIO(sample["jpg"]))), tokenizer(sample["caption"])[0]

    dataset = Prepared(
        local=str(folder), shuffle=True, shuffle_seed=0, num_canonical_nodes=8, batch_size=BATCH
    )
    for images, _ in DataLoader(dataset, batch_size=BATCH, drop_last=True):
        yield len(images)


def seconds_per_sample(batches: Iterator[int]) -> float:
    next(batches)  # start-up is not the question
    start = time.perf_counter()
    num_samples = sum(batches)
    return (time.perf_counter() - start) / num_samples


def main() -> None:
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "set"
        render(folder, RenderSettings(train=NUM_SAMPLES), workers=2, progress=False)
        times = {"ours": seconds_per_sample(ours(folder / "train"))}
        times["open_clip"] = seconds_per_sample(open_clips(folder / "train"))
    print(f"samples per second, ours / open_clip's transform: {times['open_clip'] / times['ours']:.2f}")


if __name__ == "__main__":
    main()
