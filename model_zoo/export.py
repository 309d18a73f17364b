"""A trained objective as a folder that timm, open_clip or transformers loads without this project."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from model_zoo.architectures import look_up
from model_zoo.build import build_objective
from model_zoo.exported_files import (
    ExportedFiles,
    PixelStatistics,
    open_clip_files,
    timm_files,
    transformers_files,
)
from model_zoo.specification import ObjectiveSpecification
from model_zoo.weights import check_weights

MakeFiles = Callable[[ObjectiveSpecification, Mapping[str, Tensor], PixelStatistics], ExportedFiles]

FORMATS: Mapping[str, MakeFiles] = MappingProxyType(
    {"timm": timm_files, "open_clip": open_clip_files, "transformers": transformers_files}
)


def export(
    specification: ObjectiveSpecification,
    weights: Mapping[str, Tensor],
    folder: Path,
    *,
    format: str,
    pixels: PixelStatistics,
    origin: Mapping[str, Any],
) -> None:
    """Write `folder` in one of `FORMATS`, atomically: it appears when it is complete.

    `weights`: the objective's state dict; `origin`: where they come from, written to run.json and README.md.
    ValueError for an unknown format, weights that do not fit, a tower that the format cannot express, and a folder
    that is not empty.
    """
    make_files = look_up("format", format, FORMATS)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists: exporting never overwrites; remove it, or give another --output.")
    with torch.device("meta"):
        expected = build_objective(specification, seed=0).state_dict()
    check_weights(expected, weights, source=str(origin.get("run_id", "the run")))
    files = make_files(specification, weights, pixels)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        _write(files, aside, {"format": format, **origin})
        aside.chmod(0o755)  # mkdtemp keeps others out
        os.replace(aside, folder)
    except BaseException:
        shutil.rmtree(aside)
        raise


def _write(files: ExportedFiles, folder: Path, origin: Mapping[str, Any]) -> None:
    for name, content in {**files.configurations, "run.json": dict(origin)}.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    told = "\n".join(f"- {key}: {value}" for key, value in origin.items())
    (folder / "README.md").write_text(f"# Exported weights\n\n{told}\n\n```python\n{files.usage}\n```\n")
    contiguous = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in files.weights.items()}
    save_file(contiguous, folder / files.weights_file, metadata={"format": "pt"})
