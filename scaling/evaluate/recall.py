"""Recall at k in both directions, from scores computed a few images at a time and never held all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

# Shapes.  N images, M captions, B images of a block.

TOP = (1, 5, 10)

# start, stop -> scores of images start to stop with every caption, [B, M]
Scores = Callable[[int, int], Tensor]


def recalls(scores: Scores, owners_M: Tensor, *, num_images: int, block: int) -> dict[str, float]:
    """Both recalls at 1, 5 and 10, as fractions; `owners_M` is the image of each caption.

    image_to_text_recall_at_k: images with at least one of their captions among the k best of all captions.
    text_to_image_recall_at_k: captions with their image among the k best of all images.
    A wrong answer with an equal score counts as half a place: a model with one score for everything gets no credit.
    """
    own_M = torch.empty(len(owners_M), device=owners_M.device)
    for images_B, scores_BM in _blocks(scores, owners_M, num_images, block):
        is_own_BM = owners_M == images_B[:, None]
        own_M[is_own_BM.any(dim=0)] = scores_BM.T[is_own_BM.T]
    image_places, text_places_M = [], torch.zeros_like(own_M)
    for images_B, scores_BM in _blocks(scores, owners_M, num_images, block):
        is_other_BM = owners_M != images_B[:, None]
        best_B = scores_BM.masked_fill(is_other_BM, -torch.inf).amax(dim=1)
        image_places.append(_places_before(scores_BM, best_B[:, None], is_other_BM).sum(dim=1))
        text_places_M += _places_before(scores_BM, own_M, is_other_BM).sum(dim=0)
    return {
        **{f"image_to_text_recall_at_{k}": _share_within(torch.cat(image_places), k) for k in TOP},
        **{f"text_to_image_recall_at_{k}": _share_within(text_places_M, k) for k in TOP},
    }


def chances(owners_M: Tensor, *, num_images: int) -> dict[str, float]:
    """The recalls that random scores would have on average, by the same names."""
    num_captions = len(owners_M)
    own_N = np.bincount(owners_M.cpu().numpy(), minlength=num_images)
    found = {}
    for k in TOP:
        drawn = np.arange(min(k, num_captions))
        misses_NK = np.clip(num_captions - own_N[:, None] - drawn, 0, None) / (num_captions - drawn)
        found[f"image_to_text_recall_at_{k}"] = float(1 - misses_NK.prod(axis=1).mean())
        found[f"text_to_image_recall_at_{k}"] = min(1.0, k / num_images)
    return found


def _blocks(scores: Scores, owners_M: Tensor, num_images: int, block: int) -> Iterator[tuple[Tensor, Tensor]]:
    """images_B and scores_BM of one block of images after the other."""
    for start in range(0, num_images, block):
        stop = min(start + block, num_images)
        yield torch.arange(start, stop, device=owners_M.device), scores(start, stop)


def _places_before(scores_BM: Tensor, own: Tensor, is_other_BM: Tensor) -> Tensor:
    """The places each wrong answer takes before the right one: 1 if it scores higher, half if the same."""
    return is_other_BM * ((scores_BM > own).float() + (scores_BM == own).float() / 2)


def _share_within(places: Tensor, k: int) -> float:
    return float((places < k).double().mean())
