"""Tars come from patterns, URLs and commands, whole or not at all."""

from __future__ import annotations

import io
import shlex
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from scaling.data.conversion.convert import convert
from scaling.data.conversion.tar_locations import expand_braces, is_pattern, matches
from scaling.data.indexed import IndexedDataset


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (9, 8), (number, 0, 0)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """A folder of four tars of two samples each."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for number in range(4):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for key in (2 * number, 2 * number + 1):
                for name, content in (
                    (f"{key}.jpg", picture(key)),
                    (f"{key}.txt", f"caption {key}".encode()),
                ):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return folder


def captions(folder: Path) -> list[str]:
    return [sample["caption"] for sample in IndexedDataset(folder)]


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("a.tar", ["a.tar"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{a,b}/{0..1}", ["a/0", "a/1", "b/0", "b/1"]),
        ("x{,.v2}", ["x", "x.v2"]),
        ("{not a range}", ["{not a range}"]),
        ("pipe:cat {0..1}.tar | gunzip", ["pipe:cat 0.tar | gunzip", "pipe:cat 1.tar | gunzip"]),
    ],
)
def test_braces_expand_as_in_the_shell(pattern: str, expected: list[str]) -> None:
    assert expand_braces(pattern) == expected


def test_a_star_in_a_command_is_the_shells_affair() -> None:
    assert not is_pattern("pipe:cat *.tar")
    assert matches("pipe:cat *.tar") == ["pipe:cat *.tar"]


def test_a_pattern_takes_the_files_that_it_names(tars: Path, tmp_path: Path) -> None:
    convert(f"{tars}/{{00001..00002}}.tar", tmp_path / "braces", progress=False)
    assert captions(tmp_path / "braces") == [f"caption {number}" for number in range(2, 6)]
    convert(f"{tars}/0000[03].tar", tmp_path / "glob", progress=False)
    assert captions(tmp_path / "glob") == ["caption 0", "caption 1", "caption 6", "caption 7"]


def test_a_pattern_without_a_match_and_a_missing_file_are_errors(tars: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="matches no file"):
        convert(f"{tars}/*.tra", tmp_path / "dst", progress=False)
    with pytest.raises(ValueError, match="00004.tar cannot be read .No such file"):
        convert(f"{tars}/{{00003..00009}}.tar", tmp_path / "dst", progress=False)


def test_commands_and_urls_give_what_the_files_give(tars: Path, tmp_path: Path) -> None:
    manifests = {
        name: next(iter(convert(location, tmp_path / name, progress=False).sets.values()))
        for name, location in {
            "files": f"{tars}/{{00000..00003}}.tar",
            "pipe": f"pipe:cat {shlex.quote(str(tars))}/{{00000..00003}}.tar",
            "url": f"file://{tars}/{{00000..00003}}.tar",
            "url glob": f"file://{tars}/*.tar",
        }.items()
    }
    assert len({tuple(part.source_sha256 for part in found.parts) for found in manifests.values()}) == 1
    assert all(captions(tmp_path / name) == [f"caption {n}" for n in range(8)] for name in manifests)
    assert manifests["files"].digest == manifests["url"].digest == manifests["url glob"].digest
    assert [part.source_bytes for part in manifests["pipe"].parts] == [
        (tars / f"{number:05d}.tar").stat().st_size for number in range(4)
    ]
    assert not [path for path in (tmp_path / "pipe").iterdir() if path.name.startswith(".")], "no copy stays"


@pytest.mark.parametrize(
    "command", ["cat {tar}; exit 3", "cat {tar} | head -c 2000; false", "false | cat {tar}"]
)
def test_what_a_failed_command_printed_is_not_taken_for_the_whole(
    command: str, tars: Path, tmp_path: Path
) -> None:
    location = "pipe:" + command.format(tar=shlex.quote(str(tars / "00000.tar")))
    with pytest.raises(ValueError, match="ended with status"):
        convert(location, tmp_path / "dst", progress=False)
    assert not list((tmp_path / "dst").glob("part-*"))


def test_a_rerun_does_not_fetch_again_what_is_converted(tars: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    location = f"pipe:echo {{0..1}} >> {shlex.quote(str(log))}; cat {shlex.quote(str(tars))}/0000{{0..1}}.tar"
    convert(location, tmp_path / "dst", progress=False)
    assert len(log.read_text().splitlines()) == 4  # two braces, two choices each
    convert(location, tmp_path / "dst", progress=False)
    assert len(log.read_text().splitlines()) == 4


def test_a_url_of_an_unknown_kind_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nosuch://bucket/0.tar cannot be read"):
        convert("nosuch://bucket/0.tar", tmp_path / "dst", progress=False)
