"""Tables, saved data sets and folders of captioned images become the same shards as tars do."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scaling.data.conversion import csv_files, listed_files, parquet_files, saved_datasets
from scaling.data.conversion.convert import convert
from scaling.data.conversion.rows import Columns
from scaling.data.conversion.sources import find_source
from scaling.data.indexed import IndexedDataset


def picture(number: int = 0, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (10 + number % 3, 9), (number * 5 % 256, 9, 9)).save(stream, kind)
    return stream.getvalue()


def read(folder: Path) -> list[dict[str, Any]]:
    return list(IndexedDataset(folder))


def write_csv(path: Path, rows: list[dict[str, object]], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def images(folder: Path, count: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(picture(number))
    return [f"{folder.name}/{number}.jpg" for number in range(count)]


@pytest.mark.parametrize("delimiter, name", [(",", "pairs.csv"), ("\t", "pairs.tsv"), ("\t", "tabs.csv")])
def test_a_csv_names_images_from_its_own_folder(delimiter: str, name: str, tmp_path: Path) -> None:
    paths = images(tmp_path / "src" / "pictures", 3)
    captions = ["one", 'two, with "quotes"', "three\nlines\n"]
    rows: list[dict[str, object]] = [
        {"title": caption, "url": "", "filepath": path} for path, caption in zip(paths, captions)
    ]
    columns = Columns(image="filepath", caption="title")
    convert(
        str(write_csv(tmp_path / "src" / name, rows, delimiter)),
        tmp_path / "dst",
        columns=columns,
        progress=False,
    )
    stem = Path(name).stem
    assert read(tmp_path / "dst") == [
        {"jpg": picture(number), "caption": captions[number].strip(), "key": f"{stem}-{number:09d}"}
        for number in range(3)
    ]


def test_a_csv_is_split_at_its_rows_whatever_lines_they_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "ROWS_PER_GROUP", 3)
    paths = images(tmp_path / "src" / "p", 10)
    rows: list[dict[str, object]] = [
        {"image": path, "caption": "line\n" * number + "é" * number + "end"}
        for number, path in enumerate(paths)
    ]
    table = write_csv(tmp_path / "src" / "t.csv", rows)
    manifest = convert(str(table), tmp_path / "dst", progress=False)
    assert [sample["caption"] for sample in read(tmp_path / "dst")] == [str(row["caption"]) for row in rows]
    [found] = manifest.sets.values()
    assert [part.source for part in found.parts] == ["t.csv[0:3]", "t.csv[3:6]", "t.csv[6:9]", "t.csv[9:10]"]


def test_rows_without_use_are_counted_by_reason(tmp_path: Path) -> None:
    [good] = images(tmp_path / "src" / "p", 1)
    (tmp_path / "src" / "broken.jpg").write_bytes(b"no picture")
    rows: list[dict[str, object]] = [
        {"image": good, "caption": "fine", "id": "a"},
        {"image": good, "caption": "again", "id": "a"},
        {"image": "p/absent.jpg", "caption": "x", "id": "b"},
        {"image": "", "caption": "x", "id": "c"},
        {"image": good, "caption": "  ", "id": "d"},
        {"image": good, "caption": b"\xff".decode("utf-8", "surrogateescape"), "id": "e"},
        {"image": "broken.jpg", "caption": "x", "id": "f"},
    ]
    table = write_csv(tmp_path / "src" / "t.csv", rows)
    with open(table, "a") as stream:
        stream.write(good + "\n")  # a row cut short: no caption, no key
    manifest = convert(str(table), tmp_path / "dst", columns=Columns(key="id"), progress=False)
    assert manifest.num_samples == 1 and manifest.rejects == {
        "duplicate key": 1,
        "empty caption": 1,
        "missing caption": 1,
        "missing image": 2,
        "undecodable image": 1,
        "unreadable caption": 1,
    }


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "t.csv", [{"url": "x", "text": "y"}])
    with pytest.raises(ValueError, match="no column 'image'; its columns are url, text: .*--image-column"):
        convert(str(table), tmp_path / "dst", progress=False)


def test_urls_are_not_downloaded_and_said_to_be_none_of_our_business(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "t.csv", [{"image": "https://x.org/1.jpg", "caption": "y"}])
    with pytest.raises(ValueError, match="holds the URL .*img2dataset"):
        convert(str(table), tmp_path / "dst", progress=False)


def test_parquet_holds_bytes_paths_or_both_and_lists_of_captions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet_files, "ROWS_PER_GROUP", 4)
    paths = images(tmp_path / "src" / "p", 2)
    cells = [
        {"bytes": picture(0), "path": None},
        {"bytes": None, "path": paths[1]},
        {"bytes": None, "path": None},
    ] * 3
    table = pa.table({"image": cells, "caption": [["main", "other"], ["single"], ["x"]] * 3})
    parquet.write_table(table, tmp_path / "src" / "t.parquet", row_group_size=2)
    manifest = convert(str(tmp_path / "src" / "t.parquet"), tmp_path / "dst", progress=False)
    [found] = manifest.sets.values()
    assert [part.source for part in found.parts] == ["t.parquet[0:4]", "t.parquet[4:8]", "t.parquet[8:9]"]
    assert manifest.rejects == {"missing image": 3}
    samples = read(tmp_path / "dst")
    assert [(one["jpg"], one["captions"]) for one in samples] == [
        (picture(0), ["main", "other"]),
        (picture(1), ["single"]),
    ] * 3
    assert [one["key"] for one in samples[:3]] == ["t-000000000", "t-000000001", "t-000000003"]


def test_a_folder_of_tables_is_split_by_train_and_val(tmp_path: Path) -> None:
    paths = images(tmp_path / "src" / "train" / "p", 2)
    write_csv(tmp_path / "src" / "train" / "a.csv", [{"image": paths[0], "caption": "a"}])
    write_csv(tmp_path / "src" / "train" / "b.csv", [{"image": paths[1], "caption": "b"}])
    write_csv(tmp_path / "src" / "val" / "a.csv", [{"image": "../train/p/0.jpg", "caption": "v"}])
    convert(str(tmp_path / "src"), tmp_path / "dst", progress=False)
    assert [one["caption"] for one in read(tmp_path / "dst" / "train")] == ["a", "b"]
    assert [one["caption"] for one in read(tmp_path / "dst" / "validation")] == ["v"]


def save_dataset(folder: Path, rows: list[dict[str, Any]], num_files: int) -> None:
    """As `datasets` 5.0 saves to disk: streams of record batches, and state.json."""
    pa = pytest.importorskip("pyarrow")
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{num_files:05d}.arrow" for number in range(num_files)]
    size = -(-len(rows) // num_files)
    for number, name in enumerate(names):
        table = pa.Table.from_pylist(rows[number * size : (number + 1) * size])
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": None}
    (folder / "state.json").write_text(json.dumps(state))


def test_a_saved_data_set_comes_through_split_by_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_datasets, "ROWS_PER_READ", 2)
    rows = [
        {"image": {"bytes": picture(number), "path": None}, "caption": f"c{number}", "unused": number}
        for number in range(5)
    ]
    save_dataset(tmp_path / "src" / "train", rows, 2)
    save_dataset(tmp_path / "src" / "validation", rows[:1], 1)
    (tmp_path / "src" / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    convert(str(tmp_path / "src"), tmp_path / "dst", progress=False)
    assert read(tmp_path / "dst" / "train") == [
        {"jpg": picture(number), "caption": f"c{number}", "key": f"train-{number:09d}"} for number in range(5)
    ]
    assert len(read(tmp_path / "dst" / "validation")) == 1


def test_a_selection_saved_by_its_indices_is_refused_and_not_read_in_the_wrong_order(tmp_path: Path) -> None:
    save_dataset(tmp_path / "src", [{"image": picture(), "caption": "x"}], 1)
    state = json.loads((tmp_path / "src" / "state.json").read_text())
    state["_indices_files"] = [{"filename": "indices.arrow"}]
    (tmp_path / "src" / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="flatten_indices"):
        convert(str(tmp_path / "src"), tmp_path / "dst", progress=False)


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="parquet files need the package pyarrow: pip install pyarrow"):
        convert(str(tmp_path / "t.parquet"), tmp_path / "dst", progress=False)


def test_images_are_captioned_by_the_files_of_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed_files, "FILES_PER_GROUP", 2)
    folder = tmp_path / "src"
    (folder / "b").mkdir(parents=True)
    for name, content in {
        "a.jpg": picture(1), "a.txt": b"a text\n",
        "b/c.PNG": picture(2, "PNG"), "b/c.json": b'{"captions": ["one", "two"]}',
        "b/d.jpg": picture(3), "e.txt": b"no image", "notes.md": b"not read", ".hidden.jpg": b"",
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)
    manifest = convert(str(folder), tmp_path / "dst", progress=False)
    assert {one["key"]: (one["jpg"], one["caption"]) for one in read(tmp_path / "dst")} == {
        "a": (picture(1), "a text"),
        "b/c": (picture(2, "PNG"), "one"),
    }
    assert manifest.rejects == {"missing caption": 1, "missing image": 1}


def test_the_kind_of_a_source_is_seen_or_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown 'tar'. Did you mean 'tars'"):
        find_source(str(tmp_path), kind="tar")
    with pytest.raises(ValueError, match="holds no .tar file, table, images"):
        find_source(str(tmp_path))
    with pytest.raises(ValueError, match="only tars can come from a URL"):
        find_source("s3://bucket/t.parquet")
    with pytest.raises(ValueError, match="no folder"):
        find_source(str(tmp_path / "absent"), kind="pets")
