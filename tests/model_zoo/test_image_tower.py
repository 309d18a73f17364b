"""Our timm tower against open_clip's VisionTransformer, the trunk SuperClass was trained with."""

from __future__ import annotations

import open_clip.transformer
import pytest
import torch
from torch import Tensor, nn

from model_zoo.architectures import image_tower_architecture
from model_zoo.image_tower import build_image_tower

IMAGE_SIZE = 48
IN_A_BLOCK = {
    "norm1": "ln_1",
    "attn.qkv.weight": "attn.in_proj_weight",
    "attn.qkv.bias": "attn.in_proj_bias",
    "attn.proj": "attn.out_proj",
    "norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
OUTSIDE = {
    "cls_token": "class_embedding",
    "pos_embed": "positional_embedding",
    "patch_embed.proj": "conv1",
    "norm_pre": "ln_pre",
    "norm": "ln_post",
}


def open_clip_name(name: str) -> str:
    """The name in open_clip of one of our parameters."""
    block, names = "", OUTSIDE
    if name.startswith("blocks."):
        _, index, name = name.split(".", 2)
        block, names = f"transformer.resblocks.{index}.", IN_A_BLOCK
    stem = max((stem for stem in names if name == stem or name.startswith(f"{stem}.")), key=len)
    return block + names[stem] + name.removeprefix(stem)


def open_clip_tower() -> nn.Module:
    architecture = image_tower_architecture("vit_nano8")
    tower = open_clip.transformer.VisionTransformer(
        image_size=IMAGE_SIZE,
        patch_size=architecture.patch_size,
        width=architecture.width,
        layers=architecture.depth,
        heads=architecture.num_heads,
        mlp_ratio=architecture.mlp_ratio,
        output_dim=architecture.width,
        pool_type="avg",
    )
    tower.proj = None
    return tower


def our_tower(activation_checkpointing: bool = False) -> nn.Module:
    architecture = image_tower_architecture("vit_nano8")
    return build_image_tower(
        architecture, image_size=IMAGE_SIZE, activation_checkpointing=activation_checkpointing
    )


def gradients(tower: nn.Module, images_BCHW: Tensor) -> dict[str, Tensor]:
    features_BD = tower(images_BCHW)
    (features_BD * torch.arange(features_BD.numel()).view_as(features_BD).cos()).sum().backward()
    return {
        name: parameter.grad for name, parameter in tower.named_parameters() if parameter.grad is not None
    }


@pytest.fixture
def images_BCHW() -> Tensor:
    return torch.randn(4, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.float64)


def test_values_and_gradients_equal_open_clips(images_BCHW: Tensor) -> None:
    theirs, ours = open_clip_tower().double(), our_tower().double()
    for parameter in theirs.parameters():  # so that biases and LayerNorms take part
        parameter.data += 0.1 * torch.randn_like(parameter)
    weights = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        parameter.data.copy_(weights.pop(open_clip_name(name)))
    assert not weights, "a parameter of open_clip's tower has no counterpart"
    torch.testing.assert_close(ours(images_BCHW), theirs(images_BCHW))
    expected = gradients(theirs, images_BCHW)
    for name, gradient in gradients(ours, images_BCHW).items():
        torch.testing.assert_close(gradient.squeeze(), expected[open_clip_name(name)].squeeze())


def test_initial_weights_are_distributed_as_open_clips() -> None:
    theirs = dict(open_clip_tower().named_parameters())
    for name, parameter in our_tower().named_parameters():
        expected = theirs[open_clip_name(name)]
        if name == "cls_token":  # 48 numbers: too few to compare
            assert 0.5 < parameter.std() * 48**0.5 < 1.5
        elif expected.ndim >= 2:
            assert parameter.std().item() == pytest.approx(expected.std().item(), rel=0.1), name
            assert abs(parameter.mean()) < 0.1 * parameter.std(), name
        elif "mlp" in name:  # uniform within 1/sqrt(inputs)
            assert parameter.abs().max() <= expected.abs().max() * 1.1, name
            assert parameter.std() > 0
        else:
            torch.testing.assert_close(parameter, expected)


def test_activation_checkpointing_changes_no_gradient(images_BCHW: Tensor) -> None:
    plain, recomputing = our_tower().double(), our_tower(activation_checkpointing=True).double()
    recomputing.load_state_dict(plain.state_dict())
    expected = gradients(plain, images_BCHW)
    for name, gradient in gradients(recomputing, images_BCHW).items():
        assert torch.equal(gradient, expected[name]), name


def test_activation_checkpointing_keeps_fewer_activations(images_BCHW: Tensor) -> None:
    kept = [bytes_kept(our_tower(checkpointing).double(), images_BCHW) for checkpointing in (False, True)]
    assert kept[1] < kept[0] / 3


def bytes_kept(tower: nn.Module, images_BCHW: Tensor) -> int:
    """Bytes saved for the backward pass, views of one storage counted once."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        tower(images_BCHW)
    return sum(storages.values())


@pytest.mark.parametrize("name, image_size", [("vit_micro8", 32), ("vit_tiny8", 64), ("vit_s16", 96)])
def test_any_image_size_that_patches_tile_gives_one_feature_per_image(name: str, image_size: int) -> None:
    architecture = image_tower_architecture(name)
    tower = build_image_tower(architecture, image_size=image_size)
    assert tower(torch.zeros(2, 3, image_size, image_size)).shape == (2, architecture.width)


def test_an_image_size_that_patches_cannot_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="image_size 50 .* use 48"):
        build_image_tower(image_tower_architecture("vit_nano8"), image_size=50)
