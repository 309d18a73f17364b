"""Pictures of about 500 pixels for benchmarks, as tars and as MDS shards."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scaling.data.rendering.drawing import draw_scene
from scaling.data.rendering.scenes import sample_scene
from scaling.data.shards import IMAGE_TEXT_COLUMNS, merge_indexes, write_shards

REAL_PHOTOGRAPHS = Path(__file__).resolve().parents[3] / "shared" / "data" / "realpairs" / "train"
TILES, TILE = (3, 4), 128  # of which a picture of 512 x 384 pixels is put together
SHARDS = 8
CAPTION = "A photograph of two dogs that run over wet sand, number {}."


def tiles() -> list[Image.Image]:
    """Squares of real photographs where they are on this machine, else noisy rendered scenes."""
    if not REAL_PHOTOGRAPHS.is_dir():
        noise = np.random.default_rng(0)
        scenes = [np.asarray(draw_scene(sample_scene(0, "train", i), TILE), dtype=float) for i in range(200)]
        return [
            Image.fromarray((s + noise.normal(0, 12, s.shape)).clip(0, 255).astype("uint8")) for s in scenes
        ]
    with tarfile.open(REAL_PHOTOGRAPHS / "00000.tar") as tar:
        files = [tar.extractfile(member) for member in tar if member.name.endswith(".jpg")]
        return [Image.open(io.BytesIO(file.read())).convert("RGB") for file in files if file is not None]


def photographs(count: int) -> Iterator[dict[str, Any]]:
    """Samples of the size in which img2dataset leaves them: 70 to 90 kB."""
    squares, draw = tiles(), np.random.default_rng(0)
    for number in range(count):
        picture = Image.new("RGB", (TILES[1] * TILE, TILES[0] * TILE))
        for place, chosen in enumerate(draw.choice(len(squares), TILES[0] * TILES[1], replace=False)):
            picture.paste(squares[chosen], (place % TILES[1] * TILE, place // TILES[1] * TILE))
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=92)
        yield {"jpg": stream.getvalue(), "caption": CAPTION.format(number), "key": f"{number:06d}"}


def write_photographs(folder: Path, num_samples: int) -> float:
    """The mean size of an image in bytes; the same samples as tars and as MDS shards are in `folder`."""
    samples = list(photographs(num_samples))
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for sample in samples[shard::SHARDS]:
                for extension, content in (("jpg", sample["jpg"]), ("txt", sample["caption"].encode())):
                    member = tarfile.TarInfo(f"{sample['key']}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    part = folder / "mds" / "part-00000"
    part.mkdir(parents=True)
    write_shards(part, IMAGE_TEXT_COLUMNS, samples, size_limit=2**23)
    merge_indexes(folder / "mds", [part])
    return float(np.mean([len(sample["jpg"]) for sample in samples]))
