"""The classification head against the dense formula of the reference, and against the matrix products it cannot avoid.

Each is one forward and backward pass from features to the gradients of features, weight and bias, interleaved with
the others; ratios are of medians, with one thread on a CPU of the process's own time: what others do to the machine
then counts less.  The dense formula (x-cls/superclass, loss.py): a B x V target of zeros, scattered, reweighted,
normalised, times log_softmax in float32, under bfloat16 autocast.  The bare products: logits, gradient to features,
gradient to weight, of bfloat16 tensors.  Memory: the most that tensors hold during the pass beyond what they held
before, the weight's gradient (V x D, of the weight's dtype) excluded.

Our engines train float32 parameters under autocast; `--parameters bfloat16` is a module that was cast whole.

    python tests/benchmarks/head.py --batches 256 1024 --widths 768
"""

# Shapes.  B samples, D features, V vocabulary, L labels of each sample.

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from model_zoo.classification_head import ClassificationHead
from model_zoo.classification_losses import ClassificationLoss
from model_zoo.specification import CLASSIFICATION_LOSSES
from model_zoo.targets import LabelSets

LABELS_PER_SAMPLE = 16
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Contenders:
    """The three passes over the same random features, labels and weights."""

    def __init__(self, batch: int, width: int, arguments: argparse.Namespace) -> None:
        torch.manual_seed(0)
        vocabulary = arguments.vocabulary
        dtype = getattr(torch, arguments.parameters)
        self.features_BD = torch.randn(batch, width, device=DEVICE, dtype=dtype, requires_grad=True)
        ids_BL = torch.rand(batch, vocabulary).topk(LABELS_PER_SAMPLE).indices.sort().values.to(DEVICE)
        self.ids_BL, self.idf_V = ids_BL, torch.rand(vocabulary, device=DEVICE) * 10
        offsets = torch.arange(0, ids_BL.numel() + 1, LABELS_PER_SAMPLE, device=DEVICE)
        self.labels = LabelSets(ids_BL.flatten(), offsets, torch.ones(batch, dtype=torch.bool, device=DEVICE))
        loss = ClassificationLoss(name=arguments.loss)
        self.head = ClassificationHead(width, vocabulary, loss=loss, recompute=arguments.recompute)
        self.head.to(DEVICE, dtype)
        self.products = [x.detach().bfloat16() for x in (self.features_BD, self.head.weight)]

    def ours(self) -> None:
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            labels = self.labels.with_probabilities(self.idf_V)
            loss = self.head(self.features_BD, labels, len(self.features_BD))
        self._backward(loss)

    def dense(self) -> None:
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            logits_BV = self.head.logits(self.features_BD)
            target_BV = torch.zeros(logits_BV.shape, device=DEVICE).scatter_(1, self.ids_BL, 1.0)
            target_BV = F.normalize(target_BV * self.idf_V, p=1.0, dim=1)
            loss = -(target_BV * F.log_softmax(logits_BV.float(), dim=1)).sum(dim=1).mean()
        self._backward(loss)

    def bare(self) -> None:
        features_BD, weight_VD = self.products
        logits_BV = features_BD @ weight_VD.T
        logits_BV @ weight_VD, logits_BV.T @ features_BD  # a gradient has the shape of what it is that of

    def _backward(self, loss: Tensor) -> None:
        self.head.zero_grad()
        self.features_BD.grad = None
        loss.backward()


def milliseconds(passes: list[Callable[[], None]], repeats: int) -> list[float]:
    """Median time of each pass, one after another in every repeat; the first repeat does not count."""
    alone = DEVICE == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    times: list[list[float]] = [[] for _ in passes]
    for _ in range(repeats + 1):
        for one, own in zip(passes, times, strict=True):
            start = clock()
            one()
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            own.append(1e3 * (clock() - start))
    return [statistics.median(own[1:]) for own in times]


def peak_bytes(one: Callable[[], None], left_out: int) -> int:
    """The most that `one` holds at a time beyond what it found, but for what it leaves of `left_out` bytes."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if DEVICE == "cuda" else [])
    with profile(activities=activities, profile_memory=True) as record:
        one()
    with tempfile.TemporaryDirectory() as folder:
        record_file = Path(folder) / "trace.json"
        record.export_chrome_trace(str(record_file))
        events = json.loads(record_file.read_text())["traceEvents"]
    kind = 1 if DEVICE == "cuda" else 0
    steps = [
        (event["ts"], event["args"]["Addr"], event["args"]["Bytes"])
        for event in events
        if event["name"] == "[memory]" and event["args"]["Device Type"] == kind
    ]
    changes: list[int] = []
    freed = set()
    for _, address, size in sorted(steps, key=lambda step: step[0], reverse=True):
        if size < 0:
            freed.add(address)
        elif address not in freed and size == left_out:
            continue
        else:
            freed.discard(address)
        changes.append(size)
    return max(itertools.accumulate(reversed(changes)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096])
    parser.add_argument("--widths", type=int, nargs="+", default=[768, 1024])
    parser.add_argument("--parameters", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--vocabulary", type=int, default=49_408)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--loss", choices=CLASSIFICATION_LOSSES, default="softmax")
    parser.add_argument("--recompute", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("parameters    D     B   ms ours  time/dense  time/products   MB ours  memory/dense")
    for width in arguments.widths:
        for batch in arguments.batches:
            row = Contenders(batch, width, arguments)
            ours, dense, bare = milliseconds([row.ours, row.dense, row.bare], arguments.repeats)
            gradient = row.head.weight.nbytes
            row.head.zero_grad()
            memory, dense_memory = peak_bytes(row.ours, gradient), peak_bytes(row.dense, gradient)
            print(
                f"{arguments.parameters:10s} {width:4d} {batch:5d} {ours:9.1f} {ours / dense:11.2f} "
                f"{ours / bare:14.2f} {memory / 1e6:9.1f} {memory / dense_memory:13.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
