"""The notebooks run from top to bottom, call functions only, and show what they would show today.

When results change on purpose, `python tests/analysis/test_notebooks.py` executes all of them and writes their outputs.
"""

from __future__ import annotations

import ast
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "analysis/notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
PUBLISHED = ROOT / "../shared/data/scaling_laws"
NEEDS_PUBLISHED = "published-data"  # tag of cells that read it
LARGEST_BYTES = 300_000
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
LOGIC = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.For,
    ast.While,
    ast.If,
    ast.Try,
    ast.With,
)
NOT_REPRODUCIBLE = re.compile(
    r"(?<![\w./:])/(?:home|root|tmp|work|usr|opt|var|mnt|Users|private)/|[A-Z]:\\|\b0x[0-9a-f]{6,}|Warning\b"
)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
TOLERANCE = 0.02  # of a printed number: other processors round a descent differently


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell: Any) -> list[str]:
    """What a cell says: outputs that are plain text and nothing else."""
    told = [output.text for output in cell.outputs if output.output_type == "stream"]
    bundles = [output.data for output in cell.outputs if "data" in output]
    return told + [str(data["text/plain"]) for data in bundles if set(data) == {"text/plain"}]


def pictures(cell: Any) -> list[Any]:
    return [output for output in cell.outputs if "image/png" in output.get("data", {})]


def execute(path: Path, checkout: Path) -> Any:
    """The notebook after a run in a checkout that has no runs of its own."""
    notebook = read(path)
    folder = checkout / "analysis/notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    if PUBLISHED.is_dir() and not (checkout / "data").exists():
        (checkout / "data").mkdir()
        (checkout / "data/scaling_laws").symlink_to(PUBLISHED.resolve())
    environment = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default", "OMP_NUM_THREADS": "1"}
    client = NotebookClient(
        notebook,
        timeout=300,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=os.environ | environment | {"IPYTHONDIR": str(checkout / "ipython")})
    notebook.metadata = METADATA
    return notebook


def same_text(one: str, other: str) -> bool:
    """Equal words, and numbers that differ by no more than TOLERANCE."""
    if " ".join(NUMBER.sub("#", one).split()) != " ".join(NUMBER.sub("#", other).split()):
        return False
    numbers = [
        [float(found.replace(",", "").rstrip(".")) for found in NUMBER.findall(text)] for text in (one, other)
    ]
    return all(math.isclose(*pair, rel_tol=TOLERANCE) for pair in zip(*numbers, strict=True))


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    """Every notebook, executed now."""
    checkout = tmp_path_factory.mktemp("checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_RUNTIME_DIR", str(checkout / "jupyter"))
        yield {path.stem: execute(path, checkout) for path in NOTEBOOKS}


def test_there_are_the_four_notebooks_of_a_study() -> None:
    assert [name[:2] for name in NAMES] == ["01", "02", "03", "04"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_calls_functions_and_defines_none(path: Path) -> None:
    for cell in code_cells(read(path)):
        kinds = {type(node).__name__ for node in ast.walk(ast.parse(cell.source)) if isinstance(node, LOGIC)}
        assert not kinds, f"{sorted(kinds)} in: {cell.source}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_prose_stands_before_every_code_cell(path: Path) -> None:
    kinds = [cell.cell_type for cell in read(path).cells]
    assert kinds[0] == "markdown" and ("code", "code") not in zip(kinds, kinds[1:])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_is_committed_as_run_from_top_to_bottom_and_small(path: Path) -> None:
    notebook = read(path)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert notebook.metadata == METADATA
    assert all("execution" not in cell.metadata for cell in notebook.cells), "times of execution"
    assert path.stat().st_size < LARGEST_BYTES
    assert all(cell.outputs for cell in code_cells(notebook)[1:]), "a cell that shows nothing"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_committed_outputs_hold_no_error_no_warning_and_nothing_of_a_machine(path: Path) -> None:
    for cell in code_cells(read(path)):
        kinds = {output.output_type for output in cell.outputs}
        assert kinds <= {"stream", "display_data", "execute_result"}, kinds
        assert all(output.get("name", "stdout") == "stdout" for output in cell.outputs)
        shown = [str(output.get("data", output.get("text"))) for output in cell.outputs]
        without_pictures = [re.sub(r"'image/png': '[^']*'", "", text) for text in shown]
        found = [match.group() for text in without_pictures if (match := NOT_REPRODUCIBLE.search(text))]
        assert not found, f"{found} in the outputs of: {cell.source}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_every_picture_has_its_message_in_words(path: Path) -> None:
    shown = [(cell, picture) for cell in code_cells(read(path)) for picture in pictures(cell)]
    assert shown
    for cell, picture in shown:
        alt = picture.metadata["image/png"]["alt"]
        assert len(alt) > 60, alt
        assert any(" ".join(text.split()) == " ".join(alt.split()) for text in texts(cell)), alt


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_fresh_execution_says_what_is_committed(path: Path, executed: Mapping[str, Any]) -> None:
    pairs = zip(code_cells(read(path)), code_cells(executed[path.stem]), strict=True)
    for committed, fresh in pairs:
        if NEEDS_PUBLISHED in committed.metadata.get("tags", []) and not PUBLISHED.is_dir():
            continue
        was, now = texts(committed), texts(fresh)
        assert len(was) == len(now) and all(map(same_text, was, now)), (
            f"{path.name}: the cell below now says {now}, where {was} is committed; if that is meant, run "
            f"`python tests/analysis/test_notebooks.py`.\n{committed.source}"
        )
        assert len(pictures(committed)) == len(pictures(fresh))


def test_numbers_may_differ_by_rounding_and_words_may_not() -> None:
    assert same_text("ratio 0.857 [0.801, 0.927] at 1.5e21", "ratio 0.86 [0.8, 0.93] at 1.5e21")
    assert not same_text("ratio 0.857 [0.801, 0.927]", "ratio 0.757 [0.801, 0.927]")
    assert not same_text("we cannot tell beyond 2.7e21", "we can tell beyond 2.7e21")


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp())
    for path in NOTEBOOKS:
        nbformat.write(execute(path, place), path)
    shutil.rmtree(place)
