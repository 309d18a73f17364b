"""What a conversion reads: the kind of a source, its sets, and the groups that become parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from scaling.data.conversion.benchmark_sets import KARPATHY, cars, cifar10, coco, pets
from scaling.data.conversion.caption_folders import folder_groups
from scaling.data.conversion.captioned_members import IMAGE_EXTENSIONS
from scaling.data.conversion.imagenet import imagenet
from scaling.data.conversion.labelled_sources import Classes, LabelledSource, class_folders
from scaling.data.conversion.rows import Columns
from scaling.data.conversion.saved_datasets import SPLITS, STATE, arrow_groups, saved_splits
from scaling.data.conversion.tables import TABLES, table_groups
from scaling.data.conversion.tar_locations import is_pattern, is_remote, known_bytes, matches
from scaling.data.conversion.tars import TarGroup
from scaling.data.samples import Group
from scaling.suggest import did_you_mean

# folder of the source -> set of the result
SETS = {"train": "train", "val": "validation", "validation": "validation"}
TRAINING_SETS = ("", "train")  # the others are for evaluation
CAPTIONED = ("tars", "table", "saved", "images", "coco")
RECIPES: dict[str, Callable[[Path], LabelledSource]] = {
    "classes": class_folders,
    "imagenet": imagenet,
    "pets": pets,
    "cars": cars,
    "cifar10": cifar10,
}
KINDS = (*CAPTIONED, *RECIPES)
_HOW_TARS_LOOK = (
    "the source must be webdataset tars (img2dataset, DataComp), with members such as 000000.jpg, 000000.txt and "
    "000000.json."
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What was found at a location."""

    kind: str
    sets: dict[str, list[Group]]  # by folder of the destination; "" is the destination itself
    classes: Classes | None = None  # of a labelled set


def find_source(location: str, *, kind: str = "auto", columns: Columns = Columns()) -> Source:
    """The groups of a source by set; ValueError for one that is missing, empty, ambiguous or of no known kind."""
    if kind != "auto" and kind not in KINDS:
        raise ValueError(f"--kind: unknown {kind!r}. {did_you_mean(kind, ('auto', *KINDS))}")
    chosen = _detected(location) if kind == "auto" else kind
    if chosen != "tars" and is_remote(location):
        raise ValueError(
            f"{location}: only tars can come from a URL or a command; copy a {chosen} source first."
        )
    if chosen in RECIPES:
        found = RECIPES[chosen](_folder(location))
        return Source(kind=chosen, sets=found.groups, classes=found.classes)
    finders: dict[str, Callable[[], dict[str, list[Group]]]] = {
        "tars": lambda: _files(location, (".tar",), "tars", _tar_group),
        "table": lambda: _files(
            location, TABLES, "tables", lambda path, name: table_groups(Path(path), name, columns)
        ),
        "saved": lambda: _saved(_folder(location), columns),
        "images": lambda: _images(_folder(location)),
        "coco": lambda: coco(_folder(location)),
    }
    sets = finders[chosen]()
    empty = [name for name, groups in sets.items() if not groups]
    if empty:
        raise ValueError(f"{Path(location) / empty[0]} holds no samples: fill or remove it.")
    return Source(kind=chosen, sets=sets)


def _detected(location: str) -> str:
    """The kind of a source, guessed from what its folder or file name shows."""
    path = Path(location)
    if is_remote(location) or not path.is_dir():
        return "table" if location.endswith(TABLES) else "tars"
    if (path / KARPATHY).is_file():
        return "coco"
    if (path / STATE).is_file() or (path / SPLITS).is_file():
        return "saved"
    suffixes = {file.suffix for file in path.rglob("*") if file.is_file()}
    if ".tar" in suffixes:
        return "tars"
    if suffixes & set(TABLES):
        return "table"
    has_images = bool({suffix.lower().lstrip(".") for suffix in suffixes} & set(IMAGE_EXTENSIONS))
    if has_images and suffixes & {".txt", ".json"} and not _has_class_folders(path):
        return "images"
    if has_images:
        return "classes"
    raise ValueError(f"{path} holds no .tar file, table, images or saved data set: {_HOW_TARS_LOOK}")


def _has_class_folders(path: Path) -> bool:
    return any(
        file.suffix.lower() in (".jpg", ".jpeg", ".png") for file in (path / "train").glob("*/*")
    ) and not any((path / "train").glob("*/*.txt"))


def _folder(location: str) -> Path:
    path = Path(location)
    if not path.is_dir():
        raise ValueError(f"{path} does not exist or is no folder: give the folder of the data set.")
    return path


def _tar_group(location: str, name: str) -> list[Group]:
    return [TarGroup(name=name, location=location, num_bytes=known_bytes(location))]


def _files(
    location: str, suffixes: tuple[str, ...], what: str, groups: Callable[[str, str], Sequence[Group]]
) -> dict[str, list[Group]]:
    """The groups by set of one file, of the files that a pattern names, or of the files below a folder."""
    path = Path(location)
    if is_remote(location) or (not path.exists() and is_pattern(location)):
        return {"": [group for match in matches(location) for group in groups(match, match)]}
    if not path.exists():
        raise ValueError(
            f"{path} does not exist: give a folder of webdataset tars or another source, or one file."
        )
    if path.is_file():
        return {"": list(groups(location, path.name))}
    sets: dict[str, list[Group]] = {}
    for made, folder in _set_folders(path, suffixes, what).items():
        files = sorted(file for file in folder.rglob("*") if file.suffix in suffixes)
        if not files:
            raise ValueError(f"{folder} holds no {' or '.join(suffixes)} file: {_HOW_TARS_LOOK}")
        sets[made] = [
            group for file in files for group in groups(str(file), file.relative_to(path).as_posix())
        ]
    return sets


def _set_folders(root: Path, suffixes: tuple[str, ...], what: str) -> dict[str, Path]:
    """The source's folder of each set of the result; the set is "" where the source has no folders per set."""
    split = {name: SETS[name] for name in SETS if (root / name).is_dir()}
    if len(split) > len(set(split.values())):
        raise ValueError(f"{root} has both val and validation: keep one of them.")
    if split and any(file.suffix.lower() in suffixes for file in root.iterdir()):
        raise ValueError(
            f"{root} has {what} beside {' and '.join(split)}: it is not clear to which set they belong, so move "
            "them into one of these folders."
        )
    return {made: root / name for name, made in split.items()} or {"": root}


def _images(root: Path) -> dict[str, list[Group]]:
    suffixes = tuple(f".{extension}" for extension in IMAGE_EXTENSIONS)
    return {made: [*folder_groups(folder)] for made, folder in _set_folders(root, suffixes, "images").items()}


def _saved(root: Path, columns: Columns) -> dict[str, list[Group]]:
    splits = saved_splits(root)
    return {SETS.get(split, split): [*arrow_groups(folder, columns)] for split, folder in splits.items()}
