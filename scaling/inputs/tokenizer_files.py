"""What a `tokenizer.json` tells of its tokenizer, read as plain JSON.  No torch, no `tokenizers`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scaling.inputs.vocabulary_files import content_digest, read_json, remembered


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerFile:
    """What a `tokenizer.json` of the `tokenizers` library tells of its tokenizer."""

    path: Path
    kind: str  # of its model: WordPiece, BPE, Unigram, WordLevel
    byte_fallback: bool  # unknown characters become bytes, as in SentencePiece models of Llama's kind
    size: int  # highest id + 1, added tokens included
    special_ids: frozenset[int]  # start, end, padding, unknown and the like
    digest: str  # of all that decides the ids of a text


def read_tokenizer_file(path: Path) -> TokenizerFile:
    """What the tokenizer.json at `path`, or in the folder `path`, holds; read once.  ValueError if it is none."""
    if path.is_dir() and not (path / "tokenizer.json").is_file():
        raise ValueError(
            f"{path} holds no tokenizer.json: write one with "
            f"transformers.AutoTokenizer.from_pretrained({str(path)!r}).save_pretrained(FOLDER)."
        )
    return remembered(_read_tokenizer_file, path / "tokenizer.json" if path.is_dir() else path)


def _read_tokenizer_file(path: Path) -> TokenizerFile:
    content = read_json(path)
    try:
        model, added = content["model"], content.get("added_tokens") or []
        ids = _vocabulary(model)
        special = {int(token["id"]) for token in added if token["special"]} | _unknown(model, ids)
        return TokenizerFile(
            path=path,
            kind=str(model["type"]),
            byte_fallback=bool(model.get("byte_fallback")),
            size=max([*ids.values(), *(int(token["id"]) for token in added)]) + 1,
            special_ids=frozenset(special),
            digest=content_digest([content.get("normalizer"), content.get("pre_tokenizer"), model, added]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a tokenizer.json of the tokenizers library: copy it again."
        ) from error


def _vocabulary(model: Mapping[str, Any]) -> dict[str, int]:
    """Ids by token: a Unigram model lists [token, score], all others map."""
    entries = model["vocab"]
    return {entry[0]: index for index, entry in enumerate(entries)} if isinstance(entries, list) else entries


def _unknown(model: Mapping[str, Any], ids: Mapping[str, int]) -> set[int]:
    by_id, by_name = model.get("unk_id"), model.get("unk_token")
    found = by_id if by_id is not None else ids.get(by_name or "")
    return set() if found is None else {int(found)}
