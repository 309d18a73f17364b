"""Our towers against open_clip's: VisionTransformer, the trunk SuperClass was trained with, and ModifiedResNet."""

# Shapes.  B samples, C channels, H W pixels, D features.

from __future__ import annotations

import math
from typing import Any

import open_clip.modified_resnet
import open_clip.transformer
import pytest
import timm
import torch
from open_clip_names import open_clip_name
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


def open_clip_transformer(pooling: str = "mean") -> Any:
    architecture: Any = image_tower_architecture("vit_nano8")
    tower = open_clip.transformer.VisionTransformer(
        image_size=IMAGE_SIZE,
        patch_size=architecture.patch_size,
        width=architecture.width,
        layers=architecture.depth,
        heads=architecture.num_heads,
        mlp_ratio=architecture.mlp_ratio,
        output_dim=architecture.width,
        pool_type={"mean": "avg", "class_token": "tok"}[pooling],
    )
    tower.proj = None
    return tower


def open_clip_resnet() -> Any:
    tower = open_clip.modified_resnet.ModifiedResNet(
        layers=[3, 4, 6, 3], output_dim=8 * 32, heads=4, image_size=64, width=8
    )
    return tower


def our_tower(name: str = "vit_nano8", image_size: int = IMAGE_SIZE, **changes: Any) -> nn.Module:
    return build_image_tower(image_tower_architecture(name), image_size=image_size, **changes)


def gradients(tower: nn.Module, images_BCHW: Tensor) -> dict[str, Tensor]:
    features_BD = tower(images_BCHW)
    (features_BD * torch.arange(features_BD.numel()).view_as(features_BD).cos()).sum().backward()
    return {
        name: parameter.grad for name, parameter in tower.named_parameters() if parameter.grad is not None
    }


def stir(module: nn.Module) -> None:
    """Move every parameter and running statistic off its initial value, so that all take part."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for name, buffer in module.named_buffers():
            if "running_" in name:
                buffer += 0.1 * torch.rand_like(buffer)


@pytest.fixture
def images_BCHW() -> Tensor:
    return torch.randn(4, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.float64)


@pytest.mark.parametrize("pooling", ["mean", "class_token"])
def test_a_vision_transformers_values_and_gradients_equal_open_clips(
    images_BCHW: Tensor, pooling: str
) -> None:
    theirs, ours = open_clip_transformer(pooling).double(), our_tower(pooling=pooling).double()
    stir(theirs)
    weights = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        parameter.data.copy_(weights.pop(open_clip_name(name, outside=OUTSIDE, in_a_block=IN_A_BLOCK)))
    assert not weights, "a parameter of open_clip's tower has no counterpart"
    torch.testing.assert_close(ours(images_BCHW), theirs(images_BCHW))
    expected = gradients(theirs, images_BCHW)
    for name, gradient in gradients(ours, images_BCHW).items():
        torch.testing.assert_close(
            gradient.squeeze(),
            expected[open_clip_name(name, outside=OUTSIDE, in_a_block=IN_A_BLOCK)].squeeze(),
        )


def open_clip_resnet_names(theirs: nn.Module, names: list[str]) -> dict[str, str]:
    """Our names -> open_clip's: both list the same layers in the same order, but timm a block's shortcut first."""
    convolutional = [name for name in theirs.state_dict() if not name.startswith("attnpool.")]
    blocks: dict[str, list[str]] = {}
    for name in convolutional:
        key = ".".join(name.split(".")[:2]) if name.startswith("layer") else "stem"
        blocks.setdefault(key, []).append(name)
    ordered = [
        name
        for block in blocks.values()
        for name in sorted(block, key=lambda name: "downsample" not in name)  # stable
    ]
    ours = dict(zip([name for name in names if not name.startswith("head.")], ordered, strict=True))
    pool = {"pos_embed": "positional_embedding"} | {
        f"{letter}.{kind}": f"{letter}_proj.{kind}" for letter in "qkv" for kind in ("weight", "bias")
    }
    return ours | {f"head.{name}": f"attnpool.{their_name}" for name, their_name in pool.items()}


@pytest.mark.parametrize("training", [True, False])
def test_a_resnets_values_and_gradients_equal_open_clips_with_the_output_projection_left_out(
    training: bool,
) -> None:
    theirs, ours = open_clip_resnet().double(), our_tower("resnet_nano", 64, batch_norm_samples=4).double()
    stir(theirs)
    theirs.attnpool.c_proj.weight.data = torch.eye(256, dtype=torch.float64)
    theirs.attnpool.c_proj.bias.data.zero_()
    names = open_clip_resnet_names(theirs, list(ours.state_dict()))
    ours.load_state_dict({name: theirs.state_dict()[their_name] for name, their_name in names.items()})
    images_BCHW = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    theirs.train(training), ours.train(training)
    torch.testing.assert_close(ours(images_BCHW), theirs(images_BCHW))
    expected, found = gradients(theirs, images_BCHW), gradients(ours, images_BCHW)
    assert len(found) == len(expected) - 2  # of the output projection
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[names[name]], msg=lambda told: f"{name}: {told}")


def assert_same_distribution(name: str, ours: Tensor, theirs: Tensor) -> None:
    """Equal where theirs is constant; otherwise the same spread, the same reach where uniform, mean 0."""
    few = 6 / math.sqrt(2 * ours.numel())  # six standard errors of a standard deviation
    if ours.numel() > 1 and theirs.std() == 0:
        assert torch.equal(ours.flatten(), theirs.flatten()), name
    else:
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=max(0.03, 2 * few)), name
        assert abs(ours.mean()) < 6 * theirs.std() / math.sqrt(ours.numel()), name
        # uniform: a normal reaches 3 at least
        if ours.numel() > 1000 and theirs.abs().max() < 2 * theirs.std():
            assert ours.abs().max().item() == pytest.approx(theirs.abs().max().item(), rel=0.05), name


def test_a_vision_transformers_initial_weights_are_distributed_as_open_clips() -> None:
    expected = dict(open_clip_transformer().named_parameters())
    for name, parameter in our_tower().named_parameters():
        assert_same_distribution(
            name, parameter, expected[open_clip_name(name, outside=OUTSIDE, in_a_block=IN_A_BLOCK)]
        )


def test_a_resnets_initial_weights_are_distributed_as_open_clips() -> None:
    ours = our_tower("resnet_nano", 64)
    theirs = open_clip_resnet()
    names = open_clip_resnet_names(theirs, list(ours.state_dict()))
    for name, tensor in ours.state_dict().items():
        if tensor.is_floating_point():
            assert_same_distribution(name, tensor, theirs.state_dict()[names[name]])


def test_a_convnext_is_timms_with_its_initial_weights() -> None:
    torch.manual_seed(5)
    theirs = timm.create_model("convnext_tiny", num_classes=0)
    torch.manual_seed(5)
    ours = our_tower("convnext_tiny", 64)
    assert all(
        torch.equal(left, right) for left, right in zip(ours.parameters(), theirs.parameters(), strict=True)
    )
    images_BCHW = torch.randn(1, 3, 64, 64)
    assert torch.equal(ours(images_BCHW), theirs(images_BCHW))


def test_the_mean_of_a_resnet_is_that_of_its_last_map() -> None:
    tower: Any = our_tower("resnet_nano", 64, pooling="mean", batch_norm_samples=2)
    images_BCHW = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(tower(images_BCHW), tower.forward_features(images_BCHW).mean((2, 3)))


@pytest.mark.parametrize(
    "name, image_size",
    [("vit_micro8", 32), ("vit_tiny8", 64), ("vit_s16", 96), ("resnet_nano", 32), ("convnext_nano", 32)],
)
def test_any_image_size_that_fits_gives_one_feature_per_image(name: str, image_size: int) -> None:
    architecture = image_tower_architecture(name)
    for pooling in architecture.poolings:
        tower = build_image_tower(architecture, image_size=image_size, pooling=pooling, batch_norm_samples=2)
        assert tower(torch.zeros(2, 3, image_size, image_size)).shape == (2, architecture.width)


def test_patch_dropout_leaves_out_patches_in_training_only() -> None:
    tower: Any = our_tower(patch_dropout=0.5)
    images_BCHW = torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert tower.forward_features(images_BCHW).shape[1] == 1 + 18  # class token, half of 36 patches
    assert not torch.equal(tower(images_BCHW), tower(images_BCHW))
    tower.eval()
    assert tower.forward_features(images_BCHW).shape[1] == 1 + 36
    assert torch.equal(tower(images_BCHW), tower(images_BCHW))


@pytest.mark.parametrize("name", ["vit_nano8", "resnet_nano", "convnext_nano"])
def test_drop_path_skips_branches_at_rates_that_grow_with_depth_in_training_only(name: str) -> None:
    tower = our_tower(name, 64, drop_path=0.4, batch_norm_samples=2)
    rates = [part.drop_prob for part in tower.modules() if type(part).__name__ == "DropPath"]
    assert rates == sorted(rates) and rates[-1] == pytest.approx(0.4)
    tower.eval()
    images_BCHW = torch.randn(2, 3, 64, 64)
    assert torch.equal(tower(images_BCHW), tower(images_BCHW))


@pytest.mark.parametrize(
    "name, changes, words",
    [
        ("vit_nano8", {"image_size": 50}, "image_size 50 .* use 48"),
        ("resnet_nano", {"image_size": 48}, "image_size 48 must be a positive multiple of the 32-pixel"),
        ("vit_nano8", {"pooling": "attention"}, "pooling 'attention' is not one of image_tower 'vit_nano8'"),
        (
            "convnext_nano",
            {"patch_dropout": 0.5, "image_size": 32},
            "patch_dropout 0.5 with .*convolutions need",
        ),
        ("vit_nano8", {"drop_path": 1.0}, "drop_path 1.0 must be at least 0 and below 1"),
    ],
)
def test_what_a_tower_cannot_do_is_refused(name: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        our_tower(name, **changes)
