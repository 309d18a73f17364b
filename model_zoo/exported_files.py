"""What the folder of an exported objective holds, in each of the three formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from model_zoo import open_clip_format, transformers_format
from model_zoo.image_tower import timm_model
from model_zoo.renaming import below
from model_zoo.specification import ObjectiveSpecification


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelStatistics:
    """What was taken out of the pixels (red, green, blue; 0 to 1) before the tower saw them."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedFiles:
    """The content of a folder, besides README.md and run.json."""

    configurations: dict[str, dict[str, Any]]  # by file name
    weights_file: str
    weights: dict[str, Tensor]
    usage: str  # lines of Python that load it


def timm_files(
    specification: ObjectiveSpecification, weights: Mapping[str, Tensor], pixels: PixelStatistics
) -> ExportedFiles:
    """The image tower, which is one of timm's already; the rest of the objective is left behind."""
    name, arguments = timm_model(
        specification.image, image_size=specification.image_size, pooling=specification.pooling
    )
    size = specification.image_size
    pretrained = {
        "input_size": [3, size, size],
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": list(pixels.mean),
        "std": list(pixels.std),
        "num_classes": 0,
    }
    configuration = {
        "architecture": name,
        "num_classes": 0,
        "num_features": specification.image.width,
        "model_args": arguments,
        "pretrained_cfg": pretrained,
    }
    return ExportedFiles(
        configurations={"config.json": configuration},
        weights_file="model.safetensors",
        weights=below("image_tower.", weights),
        usage='import timm\ntower = timm.create_model("local-dir:FOLDER", pretrained=True).eval()\n'
        "features = tower(images)  # [B, width], before any projection",
    )


def transformers_files(
    specification: ObjectiveSpecification, weights: Mapping[str, Tensor], pixels: PixelStatistics
) -> ExportedFiles:
    """The image tower as a CLIPVisionModel; the rest of the objective is left behind."""
    size = specification.image_size
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 3,  # bicubic
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(pixels.mean),
        "image_std": list(pixels.std),
    }
    configuration = transformers_format.configuration(specification.image, image_size=size)
    usage = 'import transformers\nmodel = transformers.CLIPVisionModel.from_pretrained("FOLDER").eval()\n'
    if specification.image.resolve_pooling(specification.pooling) == "mean":
        # the pooler of transformers reads the class token, which this tower was not trained to fill
        usage += (
            "tokens = model.vision_model.post_layernorm(model(pixel_values=images).last_hidden_state)\n"
            "features = tokens[:, 1:].mean(dim=1)  # not pooler_output: this tower is pooled by the mean of its patches"
        )
    else:
        usage += "features = model(pixel_values=images).pooler_output"
    return ExportedFiles(
        configurations={"config.json": configuration, "preprocessor_config.json": processor},
        weights_file="model.safetensors",
        weights=transformers_format.image_weights(below("image_tower.", weights)),
        usage=usage,
    )


def open_clip_files(
    specification: ObjectiveSpecification, weights: Mapping[str, Tensor], pixels: PixelStatistics
) -> ExportedFiles:
    """A whole CLIP model; without a text tower only its `visual`, as open_clip has no model of images alone."""
    image, pooling = specification.image, specification.pooling
    tower = below("image_tower.", weights)
    vision = open_clip_format.image_configuration(image, image_size=specification.image_size, pooling=pooling)
    preprocess = {
        "mean": list(pixels.mean),
        "std": list(pixels.std),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    if specification.text is None:
        model: dict[str, Any] = {"embed_dim": image.width, "vision_cfg": vision}
        return ExportedFiles(
            configurations={
                "open_clip_visual_config.json": {"model_cfg": model, "preprocess_cfg": preprocess}
            },
            weights_file="open_clip_visual.safetensors",
            weights=open_clip_format.image_weights(tower, None, image, pooling),
            usage=OPEN_CLIP_VISUAL,
        )
    text = open_clip_format.text_configuration(
        specification.text,
        vocabulary_size=specification.vocabulary_size,
        context_length=specification.context_length,
    )
    model = {"embed_dim": image.embed_width, "vision_cfg": vision, "text_cfg": text}
    if "logit_bias" in weights:
        model["init_logit_bias"] = specification.logit_bias_init
    visual = open_clip_format.image_weights(tower, below("image_projection.", weights), image, pooling)
    scalars = {name: weights[name].reshape([]) for name in ("logit_scale", "logit_bias") if name in weights}
    return ExportedFiles(
        configurations={"open_clip_config.json": {"model_cfg": model, "preprocess_cfg": preprocess}},
        weights_file="open_clip_model.safetensors",
        weights={f"visual.{name}": tensor for name, tensor in visual.items()}
        | open_clip_format.text_weights(below("text_tower.", weights), weights["text_projection.weight"])
        | scalars,
        usage='import open_clip\nmodel = open_clip.create_model("local-dir:FOLDER").eval()\n'
        "embeddings = model.encode_image(images, normalize=True), model.encode_text(tokens, normalize=True)",
    )


OPEN_CLIP_VISUAL = """\
# open_clip has no model without a text tower: this is the visual half of one, its projection the identity
import json, open_clip.model, safetensors.torch
configuration = json.load(open("FOLDER/open_clip_visual_config.json"))["model_cfg"]
tower = open_clip.model._build_vision_tower(**configuration)
tower.load_state_dict(safetensors.torch.load_file("FOLDER/open_clip_visual.safetensors"))
features = tower.eval()(images)  # [B, width]"""
