"""The names of our parameters in open_clip's transformers."""

from __future__ import annotations

from collections.abc import Mapping


def open_clip_name(name: str, *, outside: Mapping[str, str], in_a_block: Mapping[str, str]) -> str:
    """The name in open_clip of one of our parameters; the maps tell stems of names, ours to theirs."""
    block, names = "", outside
    if name.startswith("blocks."):
        _, index, name = name.split(".", 2)
        block, names = f"transformer.resblocks.{index}.", in_a_block
    stem = max((stem for stem in names if name == stem or name.startswith(f"{stem}.")), key=len)
    return block + names[stem] + name.removeprefix(stem)
