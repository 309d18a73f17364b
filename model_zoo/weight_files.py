"""Reads the weights of image towers from disk or timm's cache and gives them our names; weights.py checks them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from model_zoo import open_clip_format, transformers_format
from model_zoo.architectures import ImageTowerArchitecture
from model_zoo.renaming import below

OUR_PREFIX, OPEN_CLIP_PREFIX = "image_tower.", "visual."
ACCEPTED = (
    "timm:NAME, a run's folder or weights.safetensors, a folder that `scaling export` wrote, "
    "or a checkpoint of open_clip (.safetensors, .pt, .bin)"
)


def timm_pretrained(name: str) -> nn.Module:
    """timm's pretrained model without its classifier; ValueError for an unknown one, and when out of reach."""
    try:
        model: nn.Module = timm.create_model(name, pretrained=True, num_classes=0)
    except OSError as error:
        raise ValueError(
            f"timm:{name} is not in the local cache and cannot be downloaded ({type(error).__name__}: {error}). "
            f"On a machine that reaches the Hugging Face hub run `python -c \"import timm; timm.create_model('{name}', "
            'pretrained=True)"`, copy $HF_HOME (default ~/.cache/huggingface) here, and set HF_HUB_OFFLINE=1.'
        ) from error
    except RuntimeError as error:
        raise ValueError(
            f"timm:{name} is no pretrained model of timm ({error}): `timm.list_pretrained()` names them."
        ) from error
    return model.eval()


def is_timm_folder(path: Path) -> bool:
    """Whether `timm.create_model("local-dir:...")` reads the folder."""
    return (path / "config.json").exists() and "architecture" in _read_json(path / "config.json")


def read_tower(
    path: Path, architecture: ImageTowerArchitecture, pooling: str | None, expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tower's weights in a file or folder, by our names; names that are not ours are left as they are."""
    if not path.exists():
        raise ValueError(f"{path} does not exist: image weights are read from {ACCEPTED}.")
    if not path.is_dir():
        return _from_state(_load(path), path, architecture, pooling, expected)
    if (path / "weights.safetensors").exists():  # a run
        return _from_state(_load(path / "weights.safetensors"), path, architecture, pooling, expected)
    for configuration, weights in (
        ("open_clip_config.json", "open_clip_model.safetensors"),
        ("open_clip_visual_config.json", "open_clip_visual.safetensors"),
    ):
        if (path / configuration).exists():
            _check_open_clip(_read_json(path / configuration), path, architecture, pooling)
            return _from_state(_load(path / weights), path, architecture, pooling, expected)
    if (path / "config.json").exists():
        _check_transformers(_read_json(path / "config.json"), path, architecture)
        state = _load(path / "model.safetensors")
        vision = {name: tensor for name, tensor in state.items() if name.startswith("vision_model.")}
        return transformers_format.tower_weights(vision, expected)
    raise ValueError(f"{path} holds no image tower: image weights are read from {ACCEPTED}.")


def _from_state(
    state: Mapping[str, Tensor],
    path: Path,
    architecture: ImageTowerArchitecture,
    pooling: str | None,
    expected: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The tower in a state dict of ours, of one of our towers, of open_clip's CLIP, or of its visual tower."""
    theirs = open_clip_format.image_names(expected, architecture, pooling).values()
    if inside := below(OUR_PREFIX, state):
        return inside
    if inside := below(OPEN_CLIP_PREFIX, state):
        return open_clip_format.tower_weights(inside, architecture, pooling, expected)
    if state.keys() & expected.keys():
        return dict(state)
    if state.keys() & set(theirs):
        return open_clip_format.tower_weights(state, architecture, pooling, expected)
    raise ValueError(
        f"{path} holds no image tower of ours or of open_clip; its first names are "
        f"{', '.join(sorted(state)[:5]) or 'none'}. Image weights are read from {ACCEPTED}."
    )


def _load(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    state = loaded.get("state_dict", loaded)  # open_clip's training checkpoints hold more than the weights
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}  # written under DDP


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _check_open_clip(
    configuration: Mapping[str, Any], path: Path, architecture: ImageTowerArchitecture, pooling: str | None
) -> None:
    """ValueError unless the configuration computes what our tower does; weights alone do not tell."""
    from open_clip import CLIPVisionCfg

    model = configuration["model_cfg"]
    theirs = model["vision_cfg"]
    ours = open_clip_format.image_configuration(
        architecture, image_size=theirs["image_size"], pooling=pooling
    )
    free = {"pool_type", "patch_dropout", "timm_model_pretrained", "timm_drop", "timm_drop_path"}
    ours, theirs = (dataclasses.asdict(CLIPVisionCfg(**cfg)) for cfg in (ours, theirs))
    _refuse({key: (theirs[key], ours[key]) for key in ours.keys() - free}, path, architecture)
    _refuse({"quick_gelu": (model.get("quick_gelu", False), False)}, path, architecture)


def _check_transformers(
    configuration: Mapping[str, Any], path: Path, architecture: ImageTowerArchitecture
) -> None:
    vision = configuration.get("vision_config", configuration)
    if "patch_size" not in vision:
        raise ValueError(
            f"{path}/config.json describes no CLIP vision model: image weights are read from {ACCEPTED}."
        )
    ours = transformers_format.configuration(architecture, image_size=vision["image_size"])
    defaults = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}  # transformers', where a file is silent
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size", *defaults)
    _refuse({key: (vision.get(key, defaults.get(key)), ours[key]) for key in keys}, path, architecture)


def _refuse(pairs: Mapping[str, tuple[Any, Any]], path: Path, architecture: ImageTowerArchitecture) -> None:
    told = [
        f"{key} {theirs!r} in place of {ours!r}" for key, (theirs, ours) in pairs.items() if theirs != ours
    ]
    if told:
        raise ValueError(
            f"the weights of {path} are not those of image_tower {architecture.name!r}: {', '.join(sorted(told))}."
        )
