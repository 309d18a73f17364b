"""Image and captions of a sample as members (files of a tar or of a folder) that share a key."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from scaling.data.samples import (
    DUPLICATE_KEY,
    EMPTY_CAPTION,
    MISSING_CAPTION,
    MISSING_IMAGE,
    UNREADABLE_CAPTION,
)

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")
# what a member is, by its extension; members with others are not read
ROLES = {**dict.fromkeys(IMAGE_EXTENSIONS, "image"), "txt": "txt", "json": "json"}

Member = TypeVar("Member")


def key_and_role(path: str) -> tuple[str, str | None]:
    """Key and role of a member, role None for one that is not read.

    As in webdataset, the first dot of the file's name ends the key and begins the extension.
    """
    folder, _, name = path.rpartition("/")
    stem, _, extension = name.partition(".")
    if not stem:
        return "", None
    key = f"{folder}/{stem}" if folder else stem
    return key.encode("utf-8", "backslashreplace").decode("utf-8"), ROLES.get(extension.lower())


def gather(
    named: Iterable[tuple[str, Member]], samples: dict[str, dict[str, Member]], rejects: Counter[str]
) -> None:
    """Sort members into `samples` by key and role.  Of members that share both the first is kept, the others counted.

    If `named` raises, the members before stay in `samples`.
    """
    repeats: Counter[tuple[str, str]] = Counter()
    try:
        for path, member in named:
            key, role = key_and_role(path)
            if role is None:
                continue
            if role in samples.setdefault(key, {}):
                repeats[key, role] += 1
            samples[key].setdefault(role, member)
    finally:
        most_repeated: Counter[str] = Counter()
        for (key, _), times in repeats.items():
            most_repeated[key] = max(most_repeated[key], times)
        rejects[DUPLICATE_KEY] += most_repeated.total()


def with_captions(
    samples: Mapping[str, Mapping[str, Member]], read: Callable[[Member], bytes], rejects: Counter[str]
) -> Iterator[tuple[str, Member, tuple[str, ...]]]:
    """Key, image and captions of the samples that have both, in their order; the others counted by reason."""
    for key, members in samples.items():
        if "image" not in members:
            rejects[MISSING_IMAGE] += 1
            continue
        try:
            captions = _captions(members, read)
        except (ValueError, TypeError, RecursionError):
            rejects[UNREADABLE_CAPTION] += 1
            continue
        if any(captions):
            yield key, members["image"], captions
        else:
            rejects[EMPTY_CAPTION if captions else MISSING_CAPTION] += 1


def _captions(members: Mapping[str, Member], read: Callable[[Member], bytes]) -> tuple[str, ...]:
    """The captions, main one first; ("",) if all of them are empty, () if there are none.

    The main caption is the text file's, or else the JSON's "caption"; the JSON's "captions" come with it.
    Raises ValueError or TypeError for captions that are not text, or JSON of another form.
    """
    described = json.loads(read(members["json"])) if "json" in members else {}
    if not isinstance(described, dict) or not isinstance(described.get("captions") or [], list):
        raise TypeError("the JSON of a sample must be an object, its captions a list")
    stated = [stripped(caption) for caption in described.get("captions") or []]
    if "txt" in members:
        stated.insert(0, read(members["txt"]).decode("utf-8").strip())
    elif described.get("caption") is not None:
        stated.insert(0, stripped(described["caption"]))
    return main_first(stated)


def main_first(stated: list[str]) -> tuple[str, ...]:
    """The non-empty captions, the first one only once; ("",) if all are empty, () if there are none."""
    captions = [caption for caption in stated if caption]
    if captions and captions[0] in captions[1:]:  # the main caption is one of the list
        captions.pop(captions.index(captions[0], 1))
    return tuple(captions or stated[:1])


def stripped(caption: object) -> str:
    """A caption without space at its ends; TypeError for what is not text, ValueError for text without UTF-8."""
    if not isinstance(caption, str):
        raise TypeError(f"a caption must be a string, not {caption!r}")
    caption.encode("utf-8")  # JSON can spell half a character, which no shard can hold: a ValueError
    return caption.strip()
