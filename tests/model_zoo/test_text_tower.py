"""Our text tower against open_clip's TextTransformer."""

from __future__ import annotations

import open_clip.transformer
import pytest
import torch
from open_clip_names import open_clip_name
from torch import Tensor, nn

from model_zoo.architectures import TextTowerArchitecture, text_tower_architecture
from model_zoo.text_tower import TextTower

VOCABULARY, CONTEXT = 500, 12
IN_A_BLOCK = {
    "attention_norm": "ln_1",
    "attention.qkv.weight": "attn.in_proj_weight",
    "attention.qkv.bias": "attn.in_proj_bias",
    "attention.projection": "attn.out_proj",
    "mlp_norm": "ln_2",
    "mlp_in": "mlp.c_fc",
    "mlp_out": "mlp.c_proj",
}
OUTSIDE = {
    "token_embedding": "token_embedding",
    "position_embedding": "positional_embedding",
    "norm": "ln_final",
}


def open_clip_tower(architecture: TextTowerArchitecture) -> nn.Module:
    tower: nn.Module = open_clip.transformer.TextTransformer(
        context_length=CONTEXT,
        vocab_size=VOCABULARY,
        width=architecture.width,
        heads=architecture.num_heads,
        layers=architecture.depth,
        output_dim=None,
    )
    return tower


def our_tower(architecture: TextTowerArchitecture) -> TextTower:
    return TextTower(architecture, vocabulary_size=VOCABULARY, context_length=CONTEXT)


@pytest.fixture
def tokens_BL() -> Tensor:
    """Start, random text, end (the highest id), zeros; the last caption fills the context."""
    tokens_BL = torch.zeros(5, CONTEXT, dtype=torch.int64)
    for row, length in zip(tokens_BL, (2, 3, 7, 9, CONTEXT), strict=True):
        row[: length - 1] = torch.randint(1, VOCABULARY - 2, [length - 1])
        row[0], row[length - 1] = VOCABULARY - 2, VOCABULARY - 1
    return tokens_BL


def test_values_and_gradients_equal_open_clips(tokens_BL: Tensor) -> None:
    architecture = text_tower_architecture("text_nano")
    theirs, ours = open_clip_tower(architecture).double(), our_tower(architecture).double()
    for parameter in theirs.parameters():  # so that biases and LayerNorms take part
        parameter.data += 0.1 * torch.randn_like(parameter)
    weights = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        parameter.data.copy_(weights[open_clip_name(name, outside=OUTSIDE, in_a_block=IN_A_BLOCK)])
    assert len(weights) == len(list(ours.parameters()))
    expected_BD, features_BD = theirs(tokens_BL), ours(tokens_BL)
    torch.testing.assert_close(features_BD, expected_BD)
    upstream_BD = torch.randn_like(features_BD)
    expected_BD.backward(upstream_BD)
    features_BD.backward(upstream_BD)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, weights[open_clip_name(name, outside=OUTSIDE, in_a_block=IN_A_BLOCK)].grad
        )


def test_initial_weights_are_distributed_as_open_clips() -> None:
    architecture = text_tower_architecture("text_tiny")
    theirs = dict(open_clip_tower(architecture).named_parameters())
    for name, parameter in our_tower(architecture).named_parameters():
        expected = theirs[open_clip_name(name, outside=OUTSIDE, in_a_block=IN_A_BLOCK)]
        if expected.ndim >= 2:
            assert parameter.std().item() == pytest.approx(expected.std().item(), rel=0.1), name
        elif "mlp_" in name and "norm" not in name:  # uniform within 1/sqrt(inputs)
            assert parameter.abs().max() <= expected.abs().max() * 1.1, name
            assert parameter.std() > 0
        else:
            torch.testing.assert_close(parameter, expected)


def test_what_follows_the_end_token_does_not_matter(tokens_BL: Tensor) -> None:
    tower = our_tower(text_tower_architecture("text_nano"))
    padded_BL = torch.where((tokens_BL == 0) & (tokens_BL.cumsum(1) > 0), 7, tokens_BL)
    assert not torch.equal(padded_BL, tokens_BL)
    torch.testing.assert_close(tower(padded_BL), tower(tokens_BL))


def test_captions_may_be_cut_to_the_longest_of_a_batch(tokens_BL: Tensor) -> None:
    tower = our_tower(text_tower_architecture("text_nano"))
    torch.testing.assert_close(tower(tokens_BL[:3, :7]), tower(tokens_BL[:3]))
