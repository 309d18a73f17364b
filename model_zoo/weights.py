"""Loads weights into modules; refuses missing or unexpected names and other shapes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from model_zoo.architectures import ImageTowerArchitecture
from model_zoo.image_tower import build_image_tower
from model_zoo.weight_files import is_timm_folder, read_tower, timm_pretrained

SHOWN = 5  # names per kind of difference in an error
FROM_TIMM = "timm:"
PREFIX_TOKENS = 1  # the class token of a vision transformer, the mean position of an attention pool


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], *, source: str) -> None:
    """Copy `weights` into `module`; ValueError naming what differs, `source` saying where they come from."""
    check_weights(module.state_dict(), weights, source=source)
    module.load_state_dict(dict(weights))


def check_weights(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], *, source: str) -> None:
    """ValueError unless `weights` has the names and shapes of `expected`: what is missing, unexpected, different."""
    differences = {
        "missing": expected.keys() - weights.keys(),
        "unexpected": weights.keys() - expected.keys(),
        "of another shape": {
            f"{name} {_shape(weights[name])} in place of {_shape(expected[name])}"
            for name in expected.keys() & weights.keys()
            if weights[name].shape != expected[name].shape
        },
    }
    told = "; ".join(f"{_shorten(names)} {kind}" for kind, names in differences.items() if names)
    if told:
        raise ValueError(
            f"the weights of {source} do not fit: {told}. Use the architecture, pooling, vocabulary and context "
            "length that they were trained with, or other weights."
        )


def initial_image_tower_weights(
    source: str, architecture: ImageTowerArchitecture, *, image_size: int, pooling: str | None = None
) -> dict[str, Tensor]:
    """Weights for the state dict of `build_image_tower(...)`, position embeddings resized to the image.

    `source` is `timm:NAME` (pretrained weights, from the local cache where they are in it) or a path: a run's
    folder or weights.safetensors, a folder that `scaling export` wrote, or a checkpoint of open_clip.
    ValueError for weights of another architecture, and for what is not there.  How a vision transformer was
    pooled does not show in its weights: they fit either pooling.  The caller's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        expected = image_tower_template(architecture, image_size=image_size, pooling=pooling)
        if source.startswith(FROM_TIMM):
            weights = _from_timm(source, architecture, pooling)
        elif is_timm_folder(Path(source)):
            weights = _from_timm(f"{FROM_TIMM}local-dir:{source}", architecture, pooling)
        else:
            weights = read_tower(Path(source), architecture, pooling, expected)
    resized = _resize_positions(weights, expected, source=source)
    check_weights(expected, resized, source=source)
    return {name: resized[name].to(expected[name].dtype).contiguous() for name in expected}


def image_tower_template(
    architecture: ImageTowerArchitecture, *, image_size: int, pooling: str | None = None
) -> dict[str, Tensor]:
    """Names, shapes and dtypes of the tower's state dict, without numbers (on the meta device)."""
    with torch.device("meta"):
        return build_image_tower(architecture, image_size=image_size, pooling=pooling).state_dict()


def _from_timm(source: str, architecture: ImageTowerArchitecture, pooling: str | None) -> dict[str, Tensor]:
    """The state dict of timm's model; ValueError unless our tower computes the same with it.

    Names and shapes do not tell attention heads, activations or epsilons apart, so one image is compared.
    """
    model: Any = timm_pretrained(source.removeprefix(FROM_TIMM))
    weights: dict[str, Tensor] = model.state_dict()
    image_size = int(model.pretrained_cfg["input_size"][-1])
    ours: Any = build_image_tower(architecture, image_size=image_size, pooling=pooling).eval()
    load_weights(ours, weights, source=source)
    image_BCHW = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = [tower.forward_features(image_BCHW) for tower in (ours, model)]
    if not torch.allclose(maps[0], maps[1], rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"{source} has the weights of image_tower {architecture.name!r} but computes something else, by up to "
            f"{(maps[0] - maps[1]).abs().max():.2g} (other attention heads or another activation, such as QuickGELU): "
            "use a model of the same arithmetic."
        )
    return weights


def _resize_positions(
    weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, source: str
) -> dict[str, Tensor]:
    """The weights, with the position embeddings of vision transformers and attention pools interpolated.

    Bicubic and antialiased, the class token or mean position left alone: timm's, as on loading its own weights.
    """
    resized = dict(weights)
    for name in ("pos_embed", "head.pos_embed"):  # of a vision transformer; of an attention pool
        if name not in weights or name not in expected:
            continue
        given, wanted = weights[name], expected[name]
        if given.shape[:-2] != wanted.shape[:-2] or given.shape[-1] != wanted.shape[-1]:
            continue  # another architecture, which is told together with the other differences
        old_side = _side(given.shape[-2] - PREFIX_TOKENS, name, source)
        new_side = math.isqrt(wanted.shape[-2] - PREFIX_TOKENS)
        if old_side != new_side:
            resized[name] = resample_abs_pos_embed(
                given.view(1, *given.shape[-2:]),
                new_size=[new_side, new_side],
                old_size=[old_side, old_side],
                num_prefix_tokens=PREFIX_TOKENS,
            ).view(wanted.shape)
    return resized


def _side(num_positions: int, name: str, source: str) -> int:
    side = math.isqrt(max(0, num_positions))
    if side**2 != num_positions or not side:
        raise ValueError(
            f"{name} of {source} holds {num_positions} positions, which fill no square image: only towers of "
            "square images can be loaded."
        )
    return side


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _shorten(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(ordered[:SHOWN]) + more
