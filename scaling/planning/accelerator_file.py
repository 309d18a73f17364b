"""Accelerators that a user describes: a YAML file of names, each with its data sheet's figures and their source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scaling.cost import MOST_USD_PER_HOUR
from scaling.hardware import ACCELERATORS, ALIASES, Accelerator
from scaling.suggest import did_you_mean, explain
from scaling.sweep.sweep_file import SweepError, parse_yaml

EXAMPLE = (
    "my_gpu: {peak_bf16_tflops: 400, peak_fp32_tflops: 50, memory_gigabytes: 96, "
    "memory_gigabytes_per_second: 3000, link_gigabytes_per_second: 100, source: data sheet}"
)

_Positive = {"gt": 0, "allow_inf_nan": False}


class _Entry(BaseModel):
    """One accelerator as written; the upper bounds catch figures in another unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    peak_bf16_tflops: Annotated[float, Field(le=1e6, **_Positive)]  # dense
    peak_fp32_tflops: Annotated[float, Field(le=1e6, **_Positive)]  # without TF32
    memory_gigabytes: Annotated[float, Field(le=1e5, **_Positive)]  # decimal, as data sheets count
    memory_gigabytes_per_second: Annotated[float, Field(le=1e6, **_Positive)]  # of that memory
    link_gigabytes_per_second: Annotated[float, Field(le=1e5, **_Positive)]  # one way
    source: Annotated[str, Field(min_length=1)]
    usd_per_hour: Annotated[float, Field(le=MOST_USD_PER_HOUR, **_Positive)] | None = None


def load_accelerators(path: Path) -> dict[str, Accelerator]:
    """The table's accelerators and those of the file; ValueError naming file, accelerator, field and rule."""
    try:
        described = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: cannot be read as text ({error}).") from error
    except SweepError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(described, dict) or not described:
        raise ValueError(f"{path}: write one mapping per accelerator, for example  {EXAMPLE}")
    found = {name: _accelerator(f"{path}: {name}", name, entry) for name, entry in described.items()}
    return {**ACCELERATORS, **found}


def _accelerator(where: str, name: str, entry: object) -> Accelerator:
    if name in ACCELERATORS or name in ALIASES:
        raise ValueError(f"{where} is a name of scaling/hardware.py already: choose another one.")
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: {entry!r} must be a mapping, for example  {EXAMPLE}")
    for key in entry:
        if key not in _Entry.model_fields:
            raise ValueError(f"{where}: unknown key {key!r}. {did_you_mean(key, _Entry.model_fields)}")
    for key, info in _Entry.model_fields.items():
        if info.is_required() and key not in entry:
            raise ValueError(f"{where}: {key} is missing; for example  {EXAMPLE}")
    try:
        written = _Entry.model_validate(entry)
    except ValidationError as error:
        raise ValueError(f"{where}: {explain(error)}") from error
    return Accelerator(
        name=name,
        peak_bf16_flops=written.peak_bf16_tflops * 1e12,
        peak_fp32_flops=written.peak_fp32_tflops * 1e12,
        memory_bytes=written.memory_gigabytes * 1e9,
        memory_bytes_per_second=written.memory_gigabytes_per_second * 1e9,
        link_bytes_per_second=written.link_gigabytes_per_second * 1e9,
        source=written.source,
        usd_per_hour=written.usd_per_hour,
    )
