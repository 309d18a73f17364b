"""FLOPs of a module by three counters independent of our closed forms, corrected where they are known to be wrong.

Each counts matrix products and convolutions as 2 x multiply-adds and nothing else.  fvcore and DeepSpeed's profiler
follow a real forward pass of one sample and know no backward pass; torch's FlopCounterMode needs shapes only, so that
modules may be on the meta device.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_dispatched(compute: Callable[[], object], *, fused_attention: bool = False) -> int:
    """FLOPs of all that `compute` has torch do, backward passes included, by torch's FlopCounterMode.

    `fused_attention`: attention as torch chooses, with a formula for each of its kernels; otherwise as two products.
    """
    counter = FlopCounterMode(display=False, custom_mapping=CORRECTED_FORMULAS)
    with contextlib.ExitStack() as stack:
        if not fused_attention:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(counter)
        compute()
    return int(counter.get_total_flops())


def convolution_backward_flops(
    upstream: Any, images: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any
) -> int:
    """2 x multiply-adds of the two products of a convolution's backward pass, those that are asked for.

    Arguments as FlopCounterMode gives them: shapes.  Its own formula takes a grouped convolution for a dense one
    (torch 2.15): 8.7 x forward for ConvNeXt-T, not 3 x.
    """
    _, *filters = weight
    flops_of_one: int = 2 * math.prod(upstream) * math.prod(filters)
    return flops_of_one * sum(shape is not None for shape in out_shape[:2])


CORRECTED_FORMULAS = {torch.ops.aten.convolution_backward: convolution_backward_flops}
"""In place of FlopCounterMode's own.  The classification head needs no formula: what its autograd function computes is
aten.mm, block after block, which the mode sees in the forward as in the backward pass."""


def count_with_fvcore(module: nn.Module, *inputs: Tensor) -> int:
    """FLOPs of a forward pass by fvcore's trace of operators; its "flops" are multiply-adds, hence the factor 2.

    fvcore 0.1.5 has no formula for scaled_dot_product_attention and counts 0 (-7.6 % at ViT-S/16, -4.0 % at ViT-B/16,
    which bends a scaling exponent); here it gets one, so that attention need not be taken apart to be seen.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*torch.jit.script.* is deprecated", category=FutureWarning
        )
        from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(module, inputs)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_multiply_adds)
    for operator in FVCORE_ELEMENTWISE:
        analysis.set_op_handle(operator, _nothing)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return 2 * int(analysis.total())


FVCORE_ELEMENTWISE = (
    "aten::adaptive_avg_pool2d",
    "aten::batch_norm",
    "aten::layer_norm",
)
"""Of fvcore's formulas, those of operators in our towers that are neither products nor convolutions."""


def _attention_multiply_adds(inputs: list[Any], outputs: list[Any]) -> int:
    """Both products, from the sizes of query, key and value [batch..., heads, length, width]."""
    *outer, length, width = inputs[0].type().sizes()
    key_length, value_width = inputs[2].type().sizes()[-2:]
    return int(math.prod(outer) * length * key_length * (width + value_width))


def _nothing(inputs: list[Any], outputs: list[Any]) -> int:
    return 0


def count_with_deepspeed(module: nn.Module, *inputs: Tensor) -> int:
    """FLOPs of a forward pass by DeepSpeed's profiler, from its multiply-adds (its "flops" add norms, activations).

    On the CPU: on meta tensors DeepSpeed 0.19.8 counts a linear layer twice, since torch then computes it in Python
    from functions that DeepSpeed patches as well.
    """
    # before DeepSpeed is imported, which looks for devices otherwise, and says so
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    from deepspeed.profiling.flops_profiler import get_model_profile

    _, multiply_adds, _ = get_model_profile(
        module, args=list(inputs), print_profile=False, as_string=False, warm_up=0
    )
    return 2 * int(multiply_adds)


@contextlib.contextmanager
def without_memory(module: nn.Module) -> Iterator[nn.Module]:
    """A module of the meta device with memory on the CPU that is never written: weights of any value, shapes only.

    Pages that are only read take no memory; afterwards the module is back on the meta device.
    """
    try:
        yield module.to_empty(device="cpu")
    finally:
        module.to_empty(device="meta")
