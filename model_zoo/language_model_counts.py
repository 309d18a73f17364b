"""Decoder language models that evaluation phases read image features with: parameters and FLOPs.  No torch.

What counts as a FLOP is said in counts.py.  A pass is that of training: whole sequences at once, no cache of keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from model_zoo.architectures import look_up


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderArchitecture:
    """A causal transformer with a head over its vocabulary; biases and norms as the family has them."""

    name: str
    width: int
    depth: int  # blocks
    mlp_width: int
    vocabulary_size: int
    key_width: int  # of all keys of a token together, and of all values
    num_positions: int = 0  # learned ones; 0: rotary, which has no parameters
    is_gated: bool = False  # MLP of three products, as SwiGLU
    has_biases: bool = False  # on all linear layers but the head
    has_query_biases: bool = False  # on queries, keys and values alone
    norm_vectors: int = 1  # of width each per norm: scale, and bias of a LayerNorm
    ties_embedding: bool = False  # the head is the embedding


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderCount:
    """What one decoder takes for one sequence."""

    parameters: int
    product_flops: int  # forward, in products with weights, the head's included
    attention_flops: int  # forward, in products of activations with each other

    @property
    def forward_flops(self) -> int:
        """Of one forward pass."""
        return self.product_flops + self.attention_flops

    def train_flops(self, *, is_frozen: bool) -> int:
        """Forward and backward, where the first tokens come from something trained.

        The gradient passes through a frozen decoder, whose weights get none: one product less for each.
        """
        return (2 if is_frozen else 3) * self.product_flops + 3 * self.attention_flops


def count_decoder(decoder: DecoderArchitecture, *, num_tokens: int) -> DecoderCount:
    """Of a sequence of `num_tokens`, prefix included, with logits at every position; look-ups are free."""
    width, keys, mlp = decoder.width, decoder.key_width, decoder.mlp_width
    weights = 2 * width**2 + 2 * width * keys + (3 if decoder.is_gated else 2) * width * mlp
    biases = 0
    if decoder.has_query_biases or decoder.has_biases:
        biases += width + 2 * keys
    if decoder.has_biases:
        biases += width + (2 if decoder.is_gated else 1) * mlp + width
    norm = decoder.norm_vectors * width
    head = width * decoder.vocabulary_size
    tables = head * (1 if decoder.ties_embedding else 2) + decoder.num_positions * width
    return DecoderCount(
        parameters=tables + decoder.depth * (weights + biases + 2 * norm) + norm,
        product_flops=2 * num_tokens * (decoder.depth * weights + head),
        attention_flops=decoder.depth * 2 * 2 * num_tokens**2 * width,
    )


def _gpt2(name: str, width: int, depth: int) -> DecoderArchitecture:
    return DecoderArchitecture(
        name=name,
        width=width,
        depth=depth,
        mlp_width=4 * width,
        vocabulary_size=50_257,
        key_width=width,
        num_positions=1024,
        has_biases=True,
        norm_vectors=2,
        ties_embedding=True,
    )


_DECODERS = (
    # OpenAI's GPT-2 (Radford et al. 2019), as released in four sizes
    _gpt2("gpt2", 768, 12),
    _gpt2("gpt2_medium", 1024, 24),
    _gpt2("gpt2_large", 1280, 36),
    _gpt2("gpt2_xl", 1600, 48),
    # LLaMA 7B (arXiv 2302.13971, table 2), which Vicuna 7B was tuned from
    DecoderArchitecture(
        name="llama_7b",
        width=4096,
        depth=32,
        mlp_width=11_008,
        vocabulary_size=32_000,
        key_width=4096,
        is_gated=True,
    ),
    # Qwen2.5 0.5B (arXiv 2412.15115, table 1): 14 query heads and 2 key-value heads of 64
    DecoderArchitecture(
        name="qwen2.5_0.5b",
        width=896,
        depth=24,
        mlp_width=4864,
        vocabulary_size=151_936,
        key_width=128,
        is_gated=True,
        has_query_biases=True,
        ties_embedding=True,
    ),
)

DECODERS: Mapping[str, DecoderArchitecture] = MappingProxyType(
    {decoder.name: decoder for decoder in _DECODERS}
)


def decoder_architecture(name: str) -> DecoderArchitecture:
    """The decoder of that name; ValueError with the nearest known name otherwise."""
    return look_up("language model", name, DECODERS)
