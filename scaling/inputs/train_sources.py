"""Where training pairs come from: one folder or several in proportion, of this machine or remote."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from scaling.inputs.shard_index import ShardIndex, read_index_file, read_shard_index
from scaling.inputs.written_paths import resolve_path, with_variables
from scaling.sweep.sweep_file import SweepError

REMOTE_SECONDS = 120.0  # that a remote may take to give its index


class TrainSource(BaseModel):
    """One set of training pairs: a folder of this machine, or a remote one whose shards are kept in `folder`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    remote: str | None = None  # URL: s3://, gs://, oci://, azure://, ...
    proportion: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0  # weight among the sources


def train_sources(value: Any, cache: Path | None, where: str) -> list[dict[str, Any]]:
    """The sources in a path or URL, or in a list of such and of mappings {path: ..., proportion: ...}."""
    listed = value if isinstance(value, list) else [value]
    sources = []
    for number, item in enumerate(listed):
        place = f"{where}[{number}]" if isinstance(value, list) else where
        told = {"path": item} if isinstance(item, str) else item
        if not isinstance(told, dict) or not {"path"} <= told.keys() <= {"path", "proportion"}:
            raise SweepError(
                f"{place}: {item!r} is not a path, a URL, or a mapping: write one, as {{path: DIR, proportion: 2}}."
            )
        proportion = {key: value for key, value in told.items() if key == "proportion"}
        sources.append({**_place(told["path"], cache, place), **proportion})
    return sources


def _place(path: object, cache: Path | None, where: str) -> dict[str, Any]:
    if not isinstance(path, str):
        raise SweepError(f"{where}: {path!r} is not a path: write a folder or a URL.")
    if "://" not in path:
        return {"folder": resolve_path(path, where)}
    url = with_variables(path, where)
    if cache is None:
        raise SweepError(
            f"{where}: {url} is remote, and its shards need a folder of this machine: set data.cache=DIR."
        )
    return {"folder": cache / hashlib.sha256(url.encode()).hexdigest()[:16], "remote": url}


def source_index(source: TrainSource, require_data: bool) -> ShardIndex | None:
    """What a source holds; a remote one is asked only where training is about to start."""
    if source.remote is None:
        return read_shard_index(source.folder) if (source.folder / "index.json").exists() else None
    if not require_data:
        return None
    from scaling.data.stream.remote_cache import fetch_index  # streaming, and with it every cloud's client
    from scaling.data.stream.sources import StreamSource

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "index.json"
        fetch_index(StreamSource(local=source.folder, remote=source.remote), target, REMOTE_SECONDS)
        return read_index_file(target)


def mixture_digest(sources: Sequence[TrainSource], indexes: Sequence[ShardIndex]) -> str:
    """The content of the training set: of one source its own digest, of a mixture that of all and their shares."""
    if len(sources) == 1:
        return indexes[0].digest
    total = sum(source.proportion for source in sources)
    mixed = [
        [index.digest, source.proportion / total] for source, index in zip(sources, indexes, strict=True)
    ]
    return hashlib.sha256(json.dumps(mixed).encode()).hexdigest()[:16]
