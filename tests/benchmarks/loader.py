"""The training stream against open_clip's loader (webdataset, PIL, float crops): samples per CPU-second of the workers.

The same JPEGs, crop, tokenizer and number of workers; every pipeline runs in a process of its own, whose CPU time is
taken from the start of its workers to the last batch, theirs included. What the stream leaves to the accelerator
(colours, normalisation) is not in its CPU time; it is measured apart, on this CPU, which is what a run without an
accelerator pays.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from photographs import CAPTION, write_photographs

from scaling.data.batches import Batch, CaptionSettings, Collator
from scaling.data.images.augmentation import Augmentation
from scaling.data.images.device_augmentation import prepare
from scaling.data.images.showing import ShowSettings, show
from scaling.data.stream.training_stream import StreamSettings, StreamSource, TrainingStream
from scaling.data.text.tokenizers import load_tokenizer

BATCH, CONTEXT, ROUNDS = 64, 77, 2
WEAK = Augmentation(crop_scale_min=0.9)
STRONG = Augmentation(crop_scale_min=0.4, jitter_probability=0.8, grayscale_probability=0.2)
CAPTIONS = CaptionSettings(kind="tokens", context_length=CONTEXT)


def open_clips(folder: Path, case: argparse.Namespace) -> Iterable[Any]:
    """The steps of open_clip_train.data.get_wds_dataset (3.3), which itself fails with webdataset 1.0."""
    import open_clip
    import webdataset as wds
    from open_clip.transform import image_transform

    colours = {"color_jitter": (0.32, 0.32, 0.32, 0.08), "color_jitter_prob": 0.8, "gray_scale_prob": 0.2}
    recipe = {
        "scale": (case.augmentation.crop_scale_min, 1.0),
        **(colours if case.augmentation.draws_colours else {}),
    }
    transform = image_transform(case.size, is_train=True, aug_cfg=recipe)
    tokenizer = open_clip.get_tokenizer("ViT-B-32", context_length=CONTEXT)
    dataset = wds.DataPipeline(
        wds.SimpleShardList([str(path) for path in sorted(folder.glob("*.tar"))]),
        wds.split_by_worker,
        wds.tarfile_to_samples(),
        wds.shuffle(bufsize=5000, initial=1000),
        wds.decode("pilrgb"),
        wds.rename(image="jpg;png;jpeg;webp", text="txt"),
        wds.map_dict(image=transform, text=lambda text: tokenizer(text)[0]),
        wds.to_tuple("image", "text"),
        wds.batched(BATCH, partial=False),
    )
    return wds.WebLoader(dataset, batch_size=None, num_workers=case.workers, persistent_workers=True)


def ours_from_tars(folder: Path, case: argparse.Namespace) -> Iterable[Any]:
    """Our hot path over bare tars, read one after another and not shuffled."""
    import webdataset as wds

    settings = ShowSettings(seed=0, image_size=case.size, augmentation=case.augmentation, where=str(folder))

    def shown(sample: dict[str, Any]) -> Any:
        stored = {"jpg": sample["jpg"], "caption": sample["txt"].decode()}
        return show(stored, sample_id=int(sample["__key__"]), epoch=0, settings=settings)

    collate = Collator(load_tokenizer("clip_bpe"), CAPTIONS, image_size=case.size)
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    dataset = wds.DataPipeline(
        wds.SimpleShardList(urls),
        wds.split_by_worker,
        wds.tarfile_to_samples(),
        wds.map(shown),
        wds.batched(BATCH, collation_fn=collate, partial=False),
    )
    return wds.WebLoader(dataset, batch_size=None, num_workers=case.workers, persistent_workers=True)


def ours(folder: Path, case: argparse.Namespace) -> Iterable[Batch]:
    """The training stream."""
    settings = StreamSettings(
        sources=(StreamSource(local=folder / "mds"),),
        seed=0,
        global_batch=BATCH,
        image_size=case.size,
        augmentation=case.augmentation,
        captions=CAPTIONS,
    )
    stream = TrainingStream(
        settings, load_tokenizer("clip_bpe"), num_ranks=1, num_workers=case.workers, pin_memory=False
    )
    return stream.batches(0, case.samples // BATCH)


PIPELINES: dict[str, Callable[[Path, argparse.Namespace], Iterable[Any]]] = {
    "open_clip": open_clips,
    "ours, tars": ours_from_tars,
    "ours, MDS": ours,
}


def cpu_seconds() -> float:
    """Of this process and its children, ended or running (proc(5), fields 14 and 15 of stat)."""
    ended, ticks = resource.getrusage(resource.RUSAGE_CHILDREN), 0
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def workers_memory() -> list[int]:
    """Megabytes of anonymous memory of each worker, what it shares with its parent included."""
    statuses = [Path(f"/proc/{child.pid}/status").read_text() for child in multiprocessing.active_children()]
    return sorted(int(status.partition("RssAnon:")[2].split()[0]) // 1024 for status in statuses)


def run(name: str, folder: Path, case: argparse.Namespace) -> dict[str, Any]:
    """Samples per CPU-second and per second, seconds waited for batches, and the workers' memory on the way."""
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", TMPDIR=str(folder))
    tempfile.tempdir = str(folder)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # of the workers, as in training
    batches = PIPELINES[name](folder, case)
    cpu, wall, waited, seen, memory = cpu_seconds(), time.perf_counter(), 0.0, 0, []
    asked = wall
    for batch in batches:
        waited += time.perf_counter() - asked
        seen += len(batch) if isinstance(batch, Batch) else len(batch[0])
        if case.memory and seen % (case.samples // 5 // BATCH * BATCH) == 0:
            memory.append(workers_memory())
        asked = time.perf_counter()
    cpu = cpu_seconds() - cpu
    wall = time.perf_counter() - wall
    return {"cpu": seen / cpu, "wall": seen / wall, "seen": seen, "waited": waited, "memory": memory}


def in_own_process(name: str, folder: Path, case: argparse.Namespace) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(run, name, folder, case).result()


def microseconds_on_the_device(size: int, augmentation: Augmentation) -> float:
    """CPU time per image of what an accelerator would do."""
    pixels = torch.randint(0, 256, (BATCH, size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    sample = {"id": 0, "image": None, "caption": CAPTION}
    collate = Collator(load_tokenizer("clip_bpe"), CAPTIONS, image_size=size)
    batch = collate([{**sample, "seed": 2**62 // (i + 1)} for i in range(BATCH)])
    batch.images_BCHW.copy_(pixels)
    start = time.process_time()
    for _ in range(4):
        prepare(batch, slice(0, BATCH), augmentation, torch.device("cpu"))
    return (time.process_time() - start) / 4 / BATCH * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=3072)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, default=224, help="pixels of a crop's side")
    parser.add_argument(
        "--memory", type=int, default=0, help="look at the workers' memory over so many samples"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kilobytes = write_photographs(folder, options.samples) / 1000
        print(f"{options.samples:,} JPEGs of 512 x 384 pixels, {kilobytes:.0f} kB each")
        for recipe, augmentation in (("weak", WEAK), ("strong", STRONG)):
            compare(recipe, folder, argparse.Namespace(**vars(options), augmentation=augmentation))
        if options.memory:
            case = argparse.Namespace(**{**vars(options), "samples": options.memory, "augmentation": STRONG})
            memory = in_own_process("ours, MDS", folder, case)["memory"]
            print("megabytes of each worker, five times:", memory)


def compare(recipe: str, folder: Path, case: argparse.Namespace) -> None:
    """Print the best of some rounds of every pipeline, in turns."""
    case.memory = 0
    rounds = [{name: in_own_process(name, folder, case) for name in PIPELINES} for _ in range(ROUNDS)]
    best = {name: max((one[name] for one in rounds), key=lambda result: result["cpu"]) for name in PIPELINES}
    print(f"{recipe} recipe, {case.size} pixels, {case.workers} workers")
    for name, result in best.items():
        print(
            f"  {name:12} {result['cpu']:7,.0f} samples per CPU-second {result['wall']:7,.0f} per second "
            f"{result['cpu'] / best['open_clip']['cpu']:6.2f} x open_clip   {result['seen']:,} samples"
        )
    print(f"  MDS / tars {best['ours, MDS']['cpu'] / best['ours, tars']['cpu']:.3f}")
    print(
        f"  left to the device: {microseconds_on_the_device(case.size, case.augmentation):,.0f} us an image here"
    )


if __name__ == "__main__":
    main()
