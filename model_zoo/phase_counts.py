"""The phases in which a language model learns to read a frozen image tower: what each trains and takes.  No torch.

ClipCap (arXiv 2111.09734) captions one image feature; LLaVA (arXiv 2304.08485, 2310.03744) converses about patches.
What counts as a FLOP is said in counts.py; LiT, the phase before zero-shot classification, is an objective there.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_zoo.block_counts import TowerCount
from model_zoo.language_model_counts import DecoderArchitecture, count_decoder


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseCount:
    """What a phase takes; FLOPs per sample, a caption or a conversation."""

    trained_parameters: int
    frozen_parameters: int
    forward_flops: int
    train_flops: int  # forward and backward


@dataclass(frozen=True, kw_only=True, slots=True)
class MlpMapping:
    """ClipCap's two linear layers from one feature to `prefix_tokens` inputs of the language model."""

    prefix_tokens: int = 10  # of the released model, whose language model was tuned


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerMapping:
    """ClipCap's transformer over the feature's tokens and as many constants as there are prefix tokens.

    Attention without biases on queries, keys and values, and an MLP of twice the width, as in the released code.
    """

    prefix_tokens: int = 40  # of the released command for a frozen language model, like the next two
    feature_tokens: int = 40
    depth: int = 8


Mapping = MlpMapping | TransformerMapping


def captioning_phase(
    *,
    feature_width: int,
    mapping: Mapping,
    decoder: DecoderArchitecture,
    trains_decoder: bool,
    caption_tokens: int,
) -> PhaseCount:
    """ClipCap on features made before: trains the mapping, and the language model if asked to.

    The image tower's forward pass, once per image and not per caption, is not in it.
    """
    mapped = _count_mapping(mapping, feature_width, decoder.width)
    language = count_decoder(decoder, num_tokens=mapping.prefix_tokens + caption_tokens)
    return PhaseCount(
        trained_parameters=mapped.parameters + (language.parameters if trains_decoder else 0),
        frozen_parameters=0 if trains_decoder else language.parameters,
        forward_flops=mapped.forward_flops + language.forward_flops,
        train_flops=mapped.train_flops + language.train_flops(is_frozen=not trains_decoder),
    )


def conversation_phase(
    *,
    image: TowerCount,
    feature_width: int,
    num_patches: int,
    decoder: DecoderArchitecture,
    trains_decoder: bool,
    text_tokens: int,
) -> PhaseCount:
    """LLaVA-1.5 from pixels: stage 1 trains the projector alone, stage 2 the language model as well.

    The tower runs whole, although the features before its last block are read, as in the released code.
    """
    projected = _count_projector(feature_width, decoder.width, num_patches)
    language = count_decoder(decoder, num_tokens=num_patches + text_tokens)
    return PhaseCount(
        trained_parameters=projected.parameters + (language.parameters if trains_decoder else 0),
        frozen_parameters=image.parameters + (0 if trains_decoder else language.parameters),
        forward_flops=image.forward_flops + projected.forward_flops + language.forward_flops,
        train_flops=(
            image.forward_flops + projected.train_flops + language.train_flops(is_frozen=not trains_decoder)
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Adapter:
    """What stands between frozen features and a language model."""

    parameters: int
    forward_flops: int
    first_flops: int  # of them, in the product with the features, which need no gradient

    @property
    def train_flops(self) -> int:
        return 3 * self.forward_flops - self.first_flops


def _count_mapping(mapping: Mapping, feature_width: int, width: int) -> _Adapter:
    if isinstance(mapping, MlpMapping):
        outputs = mapping.prefix_tokens * width
        hidden = outputs // 2
        first = feature_width * hidden
        return _Adapter(
            parameters=first + hidden + (hidden + 1) * outputs,
            forward_flops=2 * (first + hidden * outputs),
            first_flops=2 * first,
        )
    num_tokens = mapping.feature_tokens + mapping.prefix_tokens
    first = feature_width * mapping.feature_tokens * width
    weights = 4 * width**2 + 2 * width * 2 * width  # attention, MLP
    # biases of the attention's last product and of the MLP, norms
    vectors = width + 3 * width + 2 * 2 * width
    return _Adapter(
        parameters=(
            first
            + num_tokens * width
            + mapping.depth * (weights + vectors)  # the first layer's bias, the constants
        ),
        forward_flops=2 * first + mapping.depth * 2 * (num_tokens * weights + 2 * num_tokens**2 * width),
        first_flops=2 * first,
    )


def _count_projector(feature_width: int, width: int, num_patches: int) -> _Adapter:
    """Two linear layers with biases, of each patch (mlp2x_gelu)."""
    first = feature_width * width
    return _Adapter(
        parameters=first + width + (width + 1) * width,
        forward_flops=2 * num_patches * (first + width**2),
        first_flops=2 * num_patches * first,
    )
