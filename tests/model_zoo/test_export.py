"""Exports, loaded by the libraries they are for, with the lines that their own README gives."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
import transformers
from small_objectives import a_specification, some_tokens
from torch import Tensor

from model_zoo.build import build_objective
from model_zoo.export import FORMATS, export
from model_zoo.exported_files import PixelStatistics
from model_zoo.specification import ObjectiveSpecification
from model_zoo.weights import initial_image_tower_weights

PIXELS = PixelStatistics(mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
IMAGE_SIZE = 64

ROUND_TRIPS = [
    ("timm", "vit_nano8", "mean"),
    ("timm", "vit_nano8", "class_token"),
    ("timm", "resnet_nano", "attention"),
    ("timm", "resnet_nano", "mean"),
    ("timm", "convnext_nano", "mean"),
    ("open_clip", "vit_nano8", "mean"),
    ("open_clip", "vit_nano8", "class_token"),
    ("open_clip", "resnet_nano", "attention"),
    ("transformers", "vit_nano8", "mean"),
    ("transformers", "vit_nano8", "class_token"),
]


def specify(objective: str, image_tower: str, pooling: str | None, **changes: Any) -> ObjectiveSpecification:
    return a_specification(
        objective, image_tower=image_tower, pooling=pooling, **{"image_size": IMAGE_SIZE, **changes}
    )


def trained(specification: ObjectiveSpecification) -> Any:
    """An objective whose weights and running statistics are all off their initial values."""
    objective = build_objective(specification, seed=0)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for name, buffer in objective.named_buffers():
            if "running_" in name:
                buffer += torch.rand_like(buffer)
    return objective.eval()


def write(objective: Any, specification: ObjectiveSpecification, folder: Path, format: str) -> Path:
    export(
        specification,
        objective.state_dict(),
        folder,
        format=format,
        pixels=PIXELS,
        origin={"run_id": "superclass-vit_nano8-1", "sweep": "smoke"},
    )
    return folder


def follow_readme(folder: Path, **inputs: Tensor) -> dict[str, Any]:
    """What the names in the README's Python hold after it has run."""
    code = re.search(r"```python\n(.*)```", (folder / "README.md").read_text(), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = dict(inputs)
    with torch.no_grad():
        exec(code[1].replace("FOLDER", str(folder)), names)  # our own text
    return names


@pytest.mark.parametrize("format, image_tower, pooling", ROUND_TRIPS)
def test_an_exported_tower_gives_the_same_features_and_comes_back_to_the_bit(
    tmp_path: Path, format: str, image_tower: str, pooling: str
) -> None:
    specification = specify("superclass", image_tower, pooling)
    objective = trained(specification)
    folder = write(objective, specification, tmp_path / "exported", format)
    images = torch.randn(3, 3, IMAGE_SIZE, IMAGE_SIZE)
    with torch.no_grad():
        expected = objective.image_features(images)
    found = follow_readme(folder, images=images)["features"]
    # the same arithmetic
    torch.testing.assert_close(found, expected, rtol=0, atol=0 if format == "timm" else 1e-6)

    back = initial_image_tower_weights(
        str(folder), specification.image, image_size=IMAGE_SIZE, pooling=pooling
    )
    state = objective.image_tower.state_dict()
    assert back.keys() == state.keys()
    assert all(
        torch.equal(back[name], state[name]) and back[name].dtype == state[name].dtype for name in state
    )


@pytest.mark.parametrize("objective", ["clip", "siglip", "superclip", "lit"])
@pytest.mark.parametrize("image_tower, pooling", [("vit_nano8", "mean"), ("resnet_nano", "attention")])
def test_a_contrastive_objective_is_a_whole_open_clip_model(
    tmp_path: Path, objective: str, image_tower: str, pooling: str
) -> None:
    specification = specify(objective, image_tower, pooling)
    ours = trained(specification)
    folder = write(ours, specification, tmp_path / "exported", "open_clip")
    images = torch.randn(3, 3, IMAGE_SIZE, IMAGE_SIZE)
    tokens = some_tokens(torch.ones(3, dtype=torch.bool)).tokens_BL
    loaded = follow_readme(folder, images=images, tokens=tokens)
    with torch.no_grad():
        expected = ours.encode_image(images), ours.encode_text(tokens)
    torch.testing.assert_close(loaded["embeddings"], expected, rtol=0, atol=1e-6)
    assert loaded["model"].logit_scale == ours.logit_scale
    if objective == "siglip":
        assert loaded["model"].logit_bias == ours.logit_bias
    back = initial_image_tower_weights(str(folder), specification.image, image_size=IMAGE_SIZE)
    assert all(torch.equal(back[name], tensor) for name, tensor in ours.image_tower.state_dict().items())


@pytest.mark.parametrize("image_tower", ["resnet50", "convnext_tiny"])
def test_trunks_that_open_clip_takes_from_timm_are_exported_too(tmp_path: Path, image_tower: str) -> None:
    specification = specify("clip", image_tower, "mean")
    ours = trained(specification)
    folder = write(ours, specification, tmp_path / "exported", "open_clip")
    images = torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    tokens = some_tokens(torch.ones(1, dtype=torch.bool)).tokens_BL
    loaded = follow_readme(folder, images=images, tokens=tokens)
    with torch.no_grad():
        torch.testing.assert_close(loaded["embeddings"][0], ours.encode_image(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "format, image_tower, pooling, words",
    [
        ("transformers", "resnet_nano", None, "image_tower 'resnet_nano' cannot be exported to transformers"),
        ("transformers", "convnext_nano", None, "CLIPVisionModel is a vision transformer"),
        (
            "open_clip",
            "convnext_nano",
            None,
            "'convnext_nano' with pooling 'mean' cannot be exported to open_clip",
        ),
        ("open_clip", "resnet_nano", "mean", "'resnet_nano' with pooling 'mean' cannot .* --format timm"),
        ("openclip", "vit_nano8", None, "unknown format 'openclip'. Did you mean 'open_clip'"),
    ],
)
def test_what_a_format_cannot_express_is_refused_and_leaves_nothing(
    tmp_path: Path, format: str, image_tower: str, pooling: str | None, words: str
) -> None:
    specification = specify("superclass", image_tower, pooling)
    with pytest.raises(ValueError, match=words):
        write(trained(specification), specification, tmp_path / "exported", format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_the_pixel_statistics_and_the_run_travel_with_the_weights(tmp_path: Path, format: str) -> None:
    specification = specify("clip", "vit_nano8", None)
    folder = write(trained(specification), specification, tmp_path / "exported", format)
    if format == "timm":
        data = timm.data.resolve_data_config(model=timm.create_model(f"local-dir:{folder}", pretrained=True))
        found = data["mean"], data["std"], data["input_size"][-1], data["interpolation"]
    elif format == "open_clip":
        data = open_clip.create_model(f"local-dir:{folder}").visual.preprocess_cfg
        found = data["mean"], data["std"], data["size"][0], data["interpolation"]
    else:
        processor = transformers.CLIPImageProcessor.from_pretrained(folder)
        side = processor.crop_size["height"]
        assert processor.resample == 3
        found = processor.image_mean, processor.image_std, side, "bicubic"
    assert (tuple(found[0]), tuple(found[1]), *found[2:]) == (PIXELS.mean, PIXELS.std, IMAGE_SIZE, "bicubic")
    run = json.loads((folder / "run.json").read_text())
    assert run == {"format": format, "run_id": "superclass-vit_nano8-1", "sweep": "smoke"}
    assert "superclass-vit_nano8-1" in (folder / "README.md").read_text()


def test_weights_of_another_architecture_or_vocabulary_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    specification = specify("superclass", "vit_nano8", None)
    for other in (
        specify("superclass", "vit_micro8", None),
        specify("superclass", "vit_nano8", None, vocabulary_size=41),
    ):
        with pytest.raises(ValueError, match="superclass-vit_nano8-1 do not fit: .* in place of"):
            write(trained(other), specification, tmp_path / "exported", "timm")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_content_is_never_overwritten(tmp_path: Path) -> None:
    specification = specify("superclass", "vit_nano8", None)
    objective = trained(specification)
    folder = write(objective, specification, tmp_path / "exported", "timm")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="exported exists: exporting never overwrites"):
        write(objective, specification, folder, "transformers")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_export_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("model_zoo.export.save_file", full)
    specification = specify("superclass", "vit_nano8", None)
    with pytest.raises(OSError, match="No space"):
        write(trained(specification), specification, tmp_path / "exported", "timm")
    assert not list(tmp_path.iterdir())
