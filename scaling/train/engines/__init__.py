"""Engines: how an objective is trained on many devices. Adding one takes one new file and one line here."""

from __future__ import annotations

import importlib

from torch import nn

from model_zoo.blocks import compile_blocks
from scaling.train.engines.protocol import Engine, EngineSettings

ENGINES = {
    "deepspeed": ("scaling.train.engines.deepspeed", "DeepSpeedEngine"),
    "fsdp": ("scaling.train.engines.fsdp", "FsdpEngine"),
    # the reference, on one rank: no sweep can ask for it
    "plain": ("scaling.train.engines.plain", "PlainEngine"),
}


def build_engine(name: str, objective: nn.Module, settings: EngineSettings) -> Engine:
    """The engine called `name`, with the objective placed on its device; its libraries are imported here."""
    if name not in ENGINES:
        raise ValueError(f"engine: unknown name {name!r}. Known: {', '.join(ENGINES)}.")
    if settings.compile:
        compile_blocks(objective)
    module, cls = ENGINES[name]
    engine: Engine = getattr(importlib.import_module(module), cls)(objective, settings)
    return engine
