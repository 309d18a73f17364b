"""Weights in: from runs, exports, open_clip checkpoints and timm; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from model_zoo.architectures import image_tower_architecture
from model_zoo.image_tower import build_image_tower
from model_zoo.weights import initial_image_tower_weights, load_weights

OPEN_CLIP: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 8,
        "width": 48,
        "layers": 3,
        "head_width": 16,
        "pool_type": "avg",
    },
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1},
}


def a_tower(name: str = "vit_nano8", image_size: int = 32, **changes: Any) -> nn.Module:
    return build_image_tower(image_tower_architecture(name), image_size=image_size, **changes).eval()


def import_tower(
    source: Path | str, name: str = "vit_nano8", image_size: int = 32, **changes: Any
) -> nn.Module:
    """A tower of ours with the weights of `source`."""
    architecture = image_tower_architecture(name)
    tower = a_tower(name, image_size, **changes)
    load_weights(
        tower,
        initial_image_tower_weights(str(source), architecture, image_size=image_size, **changes),
        source=str(source),
    )
    return tower


def assert_same_weights(left: nn.Module, right: nn.Module) -> None:
    ours, theirs = left.state_dict(), right.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", ["vit_nano8", "resnet_nano", "convnext_nano"])
@pytest.mark.parametrize("given", ["file", "folder"])
def test_the_image_tower_of_a_run_comes_back_to_the_bit(tmp_path: Path, name: str, given: str) -> None:
    tower = a_tower(name)
    state = {f"image_tower.{key}": value for key, value in tower.state_dict().items()}
    save_file(state | {"head.weight": torch.zeros(3)}, tmp_path / "weights.safetensors")
    source = tmp_path / "weights.safetensors" if given == "file" else tmp_path
    assert_same_weights(import_tower(source, name), tower)


@pytest.mark.parametrize("kind", ["clip", "visual", "training_checkpoint"])
def test_what_open_clip_wrote_gives_open_clips_features(tmp_path: Path, kind: str) -> None:
    model = open_clip.model.CLIP(**OPEN_CLIP).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    state = {
        "clip": model.state_dict(),
        "visual": model.visual.state_dict(),
        "training_checkpoint": {
            "epoch": 1,
            "state_dict": {f"module.{name}": tensor for name, tensor in model.state_dict().items()},
        },
    }[kind]
    torch.save(state, tmp_path / "weights.pt")
    ours = import_tower(tmp_path / "weights.pt")
    images_BCHW = torch.randn(2, 3, 32, 32)
    projection = model.visual.proj
    torch.testing.assert_close(
        ours(images_BCHW) @ projection, model.encode_image(images_BCHW), rtol=1e-5, atol=1e-6
    )


def test_an_open_clip_folder_with_another_activation_or_other_heads_is_refused(tmp_path: Path) -> None:
    """Neither shows in the weights."""
    save_file(open_clip.model.CLIP(**OPEN_CLIP).state_dict(), tmp_path / "open_clip_model.safetensors")
    for changes, words in (
        ({}, None),
        ({"quick_gelu": True}, "quick_gelu True in place of False"),
        ({"vision_cfg": {**OPEN_CLIP["vision_cfg"], "head_width": 24}}, "head_width 24 in place of 16"),
    ):
        configuration = {"model_cfg": {**OPEN_CLIP, **changes}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(configuration))
        if words is None:
            import_tower(tmp_path)
            continue
        with pytest.raises(ValueError, match=f"not those of image_tower 'vit_nano8': {words}"):
            import_tower(tmp_path)


@pytest.mark.parametrize("name, key", [("vit_nano8", "pos_embed"), ("resnet_nano", "head.pos_embed")])
def test_position_embeddings_are_resized_to_the_image_as_timm_does_and_the_rest_is_kept(
    tmp_path: Path, name: str, key: str
) -> None:
    tower = a_tower(name, 64)
    save_file(
        {f"image_tower.{name}": value for name, value in tower.state_dict().items()},
        tmp_path / "weights.safetensors",
    )
    resized = import_tower(tmp_path, name, 96).state_dict()
    given = tower.state_dict()
    positions = given.pop(key)
    expected = resample_abs_pos_embed(
        positions.view(1, *positions.shape[-2:]), [96 // (64 // side_of(positions))] * 2
    )
    torch.testing.assert_close(resized.pop(key).view_as(expected), expected)
    assert all(torch.equal(resized[name], given[name]) for name in given | resized)


def side_of(positions: Tensor) -> int:
    return int((positions.shape[-2] - 1) ** 0.5)


def test_a_field_of_positions_keeps_its_slope_when_resized(tmp_path: Path) -> None:
    """Independent of timm: a plane stays a plane away from its border, and the class token stays itself."""
    state = a_tower(image_size=64).state_dict()
    rows = torch.arange(8.0).repeat_interleave(8)
    state["pos_embed"][0, 0], state["pos_embed"][0, 1:] = 7.0, rows[:, None]
    save_file(
        {f"image_tower.{name}": value for name, value in state.items()}, tmp_path / "weights.safetensors"
    )
    resized = import_tower(tmp_path, image_size=128).state_dict()["pos_embed"][0]
    assert (resized[0] == 7.0).all()
    inner = resized[1:].view(16, 16, -1)[4:-4]
    torch.testing.assert_close(inner.diff(dim=0), torch.full_like(inner[1:], 0.5), rtol=0, atol=0.05)


def test_a_pretrained_timm_model_gives_timms_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = timm.create_model("resnet50_clip", num_classes=0, width_factor=0.125, img_size=64)
    offer_as_pretrained(theirs, monkeypatch, img_size=64)
    ours = a_tower("resnet_nano", 64)
    before = torch.get_rng_state()
    weights = initial_image_tower_weights(
        "timm:resnet50_clip", image_tower_architecture("resnet_nano"), image_size=64
    )
    assert torch.equal(torch.get_rng_state(), before)
    load_weights(ours, weights, source="timm")
    images_BCHW = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(images_BCHW), theirs.eval()(images_BCHW))


def test_a_timm_model_with_the_same_weights_but_another_activation_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape: dict[str, Any] = {"num_classes": 0, "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3}
    for changes, words in (({"num_heads": 3}, None), ({"num_heads": 4}, "computes something else")):
        theirs = timm.create_model("vit_base_patch16_clip_224", **shape, **changes)
        for parameter in theirs.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        offer_as_pretrained(theirs, monkeypatch, img_size=32)
        if words is None:
            import_tower("timm:vit_base_patch16_clip_224")
            continue
        with pytest.raises(ValueError, match=words):
            import_tower("timm:vit_base_patch16_clip_224")


def offer_as_pretrained(model: Any, monkeypatch: pytest.MonkeyPatch, *, img_size: int) -> None:
    """Let timm find `model` in place of a download."""
    model.pretrained_cfg = {"input_size": (3, img_size, img_size)}

    build = timm.create_model

    def create(name: str, pretrained: bool = False, **arguments: Any) -> Any:
        return model if pretrained else build(name, **arguments)

    monkeypatch.setattr(timm, "create_model", create)


def test_a_timm_model_out_of_reach_is_refused_with_how_to_fetch_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ValueError, match="timm:resnet50_clip.openai is not in the local cache .*copy .HF_HOME"
    ):
        import_tower("timm:resnet50_clip.openai", "resnet50", 224)


@pytest.mark.parametrize("name", ["resnet_50_clip", "vit_base_patch16_clip_224.nobody"])
def test_an_unknown_timm_model_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"timm:{name} is no pretrained model of timm"):
        import_tower(f"timm:{name}")


def test_weights_of_another_architecture_are_refused_with_names_and_both_shapes(tmp_path: Path) -> None:
    state = {f"image_tower.{name}": value for name, value in a_tower("vit_micro8").state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError) as caught:
        import_tower(tmp_path)
    told = str(caught.value)
    assert told.startswith(f"the weights of {tmp_path} do not fit: ")
    # the fourth block, of 12 tensors
    assert "blocks.3.attn.proj.bias" in told and "and 7 more unexpected" in told
    assert "blocks.0.attn.proj.weight [96, 96] in place of [48, 48]" in told
    assert told.count(" in place of ") == 5


def test_missing_weights_are_named() -> None:
    weights = a_tower().state_dict()
    del weights["norm.bias"]
    with pytest.raises(
        ValueError, match="the weights of a file do not fit: norm.bias missing. Use the architecture"
    ):
        load_weights(a_tower(), weights, source="a file")


def test_a_resnet_pooled_otherwise_is_refused(tmp_path: Path) -> None:
    state = a_tower("resnet_nano", pooling="mean").state_dict()
    save_file(
        {f"image_tower.{name}": value for name, value in state.items()}, tmp_path / "weights.safetensors"
    )
    with pytest.raises(ValueError, match=r"head\.k\.bias, .* missing.*pooling"):
        import_tower(tmp_path, "resnet_nano")
    import_tower(tmp_path, "resnet_nano", pooling="mean")


def test_positions_that_fill_no_square_are_refused(tmp_path: Path) -> None:
    state = a_tower().state_dict()
    state["pos_embed"] = torch.zeros(1, 1 + 12, 48)
    save_file(
        {f"image_tower.{name}": value for name, value in state.items()}, tmp_path / "weights.safetensors"
    )
    with pytest.raises(ValueError, match="pos_embed of .* holds 12 positions, which fill no square image"):
        import_tower(tmp_path)


def test_a_path_without_an_image_tower_is_refused_with_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent does not exist: .* timm:NAME, a run's folder"):
        import_tower(tmp_path / "absent")
    with pytest.raises(ValueError, match="holds no image tower: .* timm:NAME"):
        import_tower(tmp_path)
    save_file({"other.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="its first names are other.weight"):
        import_tower(tmp_path / "other.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="describes no CLIP vision model"):
        import_tower(tmp_path)
