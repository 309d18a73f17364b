"""Tars of photographs to MDS shards, one process: ours against a bare loop from tarfile to MDSWriter.

Ours hashes the source, reads the header of every image, decodes one in sixteen and syncs to disk; the bare loop does
none of that.  Target: 2,500 samples per CPU-second of images of about 90 kB.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from streaming.base.format.mds import MDSWriter

from scaling.data.conversion import convert
from scaling.data.shards import IMAGE_TEXT_COLUMNS

NUM_TARS, SAMPLES_PER_TAR, ROUNDS = 2, 2_000, 3
WIDTH, HEIGHT, QUALITY = 512, 384, 88  # noise on smooth colours: about 90 kB
TARGET = 2_500  # samples per CPU-second


def photographs(count: int) -> list[bytes]:
    """JPEG files of about 90 kB."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        smooth = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((WIDTH, HEIGHT))
        noisy = np.asarray(smooth) + rng.normal(0, 14, (HEIGHT, WIDTH, 1))
        stream = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=QUALITY)
        images.append(stream.getvalue())
    return images


def write_tars(folder: Path, images: list[bytes]) -> None:
    for number in range(NUM_TARS):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for sample in range(SAMPLES_PER_TAR):
                members = {
                    "jpg": images[sample % len(images)],
                    "txt": b"a photograph",
                    "json": b'{"width": 512}',
                }
                for extension, content in members.items():
                    info = tarfile.TarInfo(f"{number:05d}{sample:04d}.{extension}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


def bare(source: Path, destination: Path) -> None:
    writer = MDSWriter(out=str(destination), columns=IMAGE_TEXT_COLUMNS, hashes=["xxh64"], size_limit=2**28)
    for path in sorted(source.glob("*.tar")):
        with tarfile.open(path) as tar:
            for sample in _samples(tar):
                writer.write(sample)
    writer.finish()


def _samples(tar: tarfile.TarFile) -> Iterator[dict[str, object]]:
    """The samples of a tar whose members stand in the order jpg, txt, json."""
    image = b""
    for member in tar:
        stream = tar.extractfile(member)
        assert stream is not None
        if member.name.endswith(".jpg"):
            image = stream.read()
        elif member.name.endswith(".txt"):
            yield {"jpg": image, "caption": stream.read().decode(), "key": member.name[:-4]}


def ours(source: Path, destination: Path) -> None:
    convert.convert(str(source), destination, kind="tars", progress=False)


def rate(convert_all: Callable[[Path, Path], None], source: Path) -> float:
    """Samples per CPU-second."""
    with tempfile.TemporaryDirectory() as scratch:
        start = time.process_time()
        convert_all(source, Path(scratch) / "set")
        return NUM_TARS * SAMPLES_PER_TAR / (time.process_time() - start)


def main() -> None:
    convert.SMALL_BYTES = 0  # as for a large source: one image in sixteen is decoded
    with tempfile.TemporaryDirectory() as scratch:
        images = photographs(64)
        write_tars(Path(scratch), images)
        rates = {"bare": 0.0, "ours": 0.0}
        for _ in range(ROUNDS):  # in turn, so that a busy machine slows both
            rates["bare"] = max(rates["bare"], rate(bare, Path(scratch)))
            rates["ours"] = max(rates["ours"], rate(ours, Path(scratch)))
    print(f"images of {np.mean([len(image) for image in images]) / 1000:.0f} kB")
    print(f"bare loop  {rates['bare']:8,.0f} samples per CPU-second")
    print(f"convert    {rates['ours']:8,.0f} samples per CPU-second (target {TARGET:,})")


if __name__ == "__main__":
    main()
