"""CLIP's causal text transformer (arXiv 2103.00020), with the initial weights of its released code."""

# Shapes.  B samples, L caption tokens, D features, H heads, K features per head.

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.architectures import TextTowerArchitecture


class CausalAttention(nn.Module):
    """Self-attention in which a token sees itself and those before it."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Attended tokens [B, L, D]."""
        query_BHLK, key_BHLK, value_BHLK = (
            part_BLD.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part_BLD in self.qkv(x_BLD).chunk(3, dim=-1)
        )
        mixed_BHLK = F.scaled_dot_product_attention(query_BHLK, key_BHLK, value_BHLK, is_causal=True)
        projected_BLD: Tensor = self.projection(mixed_BHLK.transpose(1, 2).flatten(2))
        return projected_BLD


class TextBlock(nn.Module):
    """Pre-norm transformer block: attention, then MLP, each around a residual."""

    def __init__(self, width: int, num_heads: int, mlp_width: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = CausalAttention(width, num_heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, mlp_width)
        self.mlp_out = nn.Linear(mlp_width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Tokens after the block, [B, L, D]."""
        x_BLD = x_BLD + self.attention(self.attention_norm(x_BLD))
        after_BLD: Tensor = x_BLD + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x_BLD))))
        return after_BLD

    def initialise(self, *, residual_std: float) -> None:
        """CLIP's initial weights; the biases of the MLP keep torch's uniform default, as CLIP leaves them."""
        width = self.mlp_in.in_features
        nn.init.normal_(self.attention.qkv.weight, std=width**-0.5)
        nn.init.zeros_(self.attention.qkv.bias)
        nn.init.normal_(self.attention.projection.weight, std=residual_std)
        nn.init.zeros_(self.attention.projection.bias)
        nn.init.normal_(self.mlp_in.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(self.mlp_out.weight, std=residual_std)


class TextTower(nn.Module):
    """Captions as token ids [B, L] to features [B, D], read at the end-of-text token."""

    def __init__(
        self, architecture: TextTowerArchitecture, *, vocabulary_size: int, context_length: int
    ) -> None:
        super().__init__()
        self.feature_width = architecture.width
        self.token_embedding = nn.Embedding(vocabulary_size, architecture.width)
        self.position_embedding = nn.Parameter(torch.empty(context_length, architecture.width))
        self.blocks = nn.Sequential(*(_block(architecture) for _ in range(architecture.depth)))
        self.norm = nn.LayerNorm(architecture.width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding, std=0.01)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Features [B, D] of the token with the highest id: the end of the text in our vocabularies."""
        x_BLD = self.blocks(self.token_embedding(tokens_BL) + self.position_embedding[: tokens_BL.shape[1]])
        last_BD = x_BLD[torch.arange(len(tokens_BL), device=tokens_BL.device), tokens_BL.argmax(dim=-1)]
        features_BD: Tensor = self.norm(last_BD)
        return features_BD


def _block(architecture: TextTowerArchitecture) -> TextBlock:
    block = TextBlock(architecture.width, architecture.num_heads, architecture.mlp_width)
    block.initialise(residual_std=architecture.width**-0.5 * (2 * architecture.depth) ** -0.5)
    return block
