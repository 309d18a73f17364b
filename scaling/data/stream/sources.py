"""Where training samples come from: MDS folders, here or elsewhere, each with its share of what is shown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlparse


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StreamSource:
    """One MDS data set."""

    local: Path  # its folder, or for a remote one the folder of this machine that keeps shards
    # URL of its folder: s3://, gs://, oci://, azure://, file://, ... or a plain path
    remote: str | None = None
    # weight among the sources: its samples over all samples is this over the sum of all
    proportion: float = 1.0

    @property
    def remote_folder(self) -> str | None:
        """The remote as the downloaders take it, which know plain paths and no file:// URLs."""
        if self.remote is None or urlparse(self.remote).scheme != "file":
            return self.remote
        return unquote(urlparse(self.remote).path)

    @property
    def where(self) -> str:
        """The place of the data, for messages."""
        return self.remote or str(self.local)


def shares(sources: Sequence[StreamSource]) -> list[float]:
    """The part of all shown samples that each source gives; ValueError for sources that cannot be mixed."""
    if not sources:
        raise ValueError("sources is empty: give at least one data set to train on.")
    for source in sources:
        if not (0 < source.proportion < math.inf):
            raise ValueError(
                f"{source.where}: proportion ({source.proportion:g}) must be above 0 and finite: leave the source "
                "out to show nothing of it."
            )
    folders = [source.local.resolve() for source in sources]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise ValueError(
            f"{twice} is the folder of two sources: give each its own, or show one source more with proportion."
        )
    total = sum(source.proportion for source in sources)
    return [source.proportion / total for source in sources]
