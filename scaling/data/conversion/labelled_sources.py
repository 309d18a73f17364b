"""What sources of labelled sets share: class names, prompts, and folders with the images of one class each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from scaling.data.conversion.captioned_members import IMAGE_EXTENSIONS
from scaling.data.conversion.listed_files import ListedGroup, ListedImage, listed_groups
from scaling.data.conversion.prompt_templates import PLAIN
from scaling.data.labelled import CLASS_NAMES, TEMPLATES, TEST, TRAIN, check_templates
from scaling.data.samples import Group

TEST_FOLDERS = ("test", "val", "validation")  # the first that has class folders is the test set


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Classes:
    """The class names of a labelled set by label, its prompts, and where both come from."""

    names: tuple[str, ...]
    names_from: str
    templates: tuple[str, ...]
    templates_from: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LabelledSource:
    """A labelled set as its owners publish it."""

    groups: dict[str, list[Group]]  # of train and test
    classes: Classes


def given_classes(root: Path, default: Classes) -> Classes:
    """Class names and prompts from the text files beside the images, `default` where there are none.

    Raises ValueError unless there is one name per class.
    """
    found = default
    if (root / CLASS_NAMES).is_file():
        names = read_lines(root / CLASS_NAMES)
        if len(names) != len(default.names):
            raise ValueError(
                f"{root / CLASS_NAMES} names {len(names)} classes, the images have {len(default.names)}: one name a "
                "line, in the alphabetical order of the class folders."
            )
        found = dataclasses.replace(found, names=names, names_from=CLASS_NAMES)
    if (root / TEMPLATES).is_file():
        templates = read_lines(root / TEMPLATES)
        found = dataclasses.replace(found, templates=templates, templates_from=TEMPLATES)
    check_templates(found.templates, root / TEMPLATES)
    return found


def read_lines(path: Path) -> tuple[str, ...]:
    """The non-empty lines of a text file, stripped."""
    return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def class_folders(root: Path) -> LabelledSource:
    """The labelled set in train/CLASS/*.jpg and test/CLASS/*.jpg (or val, validation), as ImageFolder reads it.

    Labels count the class folders of train in alphabetical order.  Raises ValueError for a test class without
    training images.
    """
    test = next((name for name in TEST_FOLDERS if class_names(root / name)), None)
    folders = class_names(root / TRAIN)
    if not folders or test is None:
        raise ValueError(
            f"{root} is no set of class folders: it needs train/CLASS/*.jpg and test/CLASS/*.jpg (or val)."
        )
    unknown = sorted(set(class_names(root / test)) - set(folders))
    if unknown:
        raise ValueError(
            f"{root / test / unknown[0]}: the class {unknown[0]!r} has no folder in {root / TRAIN}."
        )
    default = Classes(
        names=tuple(folder.replace("_", " ") for folder in folders),
        names_from="names of the class folders",
        templates=PLAIN,
        templates_from="one plain prompt",
    )
    classes = given_classes(root, default)
    sets = {TRAIN: TRAIN, TEST: test}
    return LabelledSource(
        groups={made: [*folder_groups(root, name, folders, classes.names)] for made, name in sets.items()},
        classes=classes,
    )


def class_names(folder: Path) -> list[str]:
    """The sub-folders in alphabetical order, hidden ones left out; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")


def folder_groups(root: Path, name: str, folders: Sequence[str], names: Sequence[str]) -> list[ListedGroup]:
    """The images of the class folders below root/name; a label is the index of the image's folder in `folders`."""
    images = [
        ListedImage(
            key=path.relative_to(root).with_suffix("").as_posix(),
            path=path.relative_to(root).as_posix(),
            captions=(names[label],),
            label=label,
        )
        for label, folder in enumerate(folders)
        for path in sorted((root / name / folder).rglob("*"))
        if is_image(path)
    ]
    if not images:
        raise ValueError(f"{root / name} holds no images ({', '.join(IMAGE_EXTENSIONS)}) in class folders.")
    return listed_groups(name, root, images)


def is_image(path: Path) -> bool:
    return path.suffix.lower().lstrip(".") in IMAGE_EXTENSIONS and not path.name.startswith(".")
