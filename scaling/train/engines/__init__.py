"""Engines: how an objective is trained on many devices. Adding one takes one new file and one line here."""

from __future__ import annotations

from scaling.train.engines.protocol import Engine, EngineSettings


def build_engine(name: str, objective: object, settings: EngineSettings) -> Engine:
    """The engine called `name`, with the objective placed on its device."""
    if name == "deepspeed":
        from scaling.train.engines.deepspeed import DeepSpeedEngine

        return DeepSpeedEngine(objective, settings)
    raise ValueError(f"engine: unknown name {name!r}. Known: deepspeed.")
