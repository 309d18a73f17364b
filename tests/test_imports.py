"""Imports run one way, model_zoo <- scaling <- analysis (records, units only); planning needs no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    "model_zoo": ("model_zoo",),
    "scaling": ("scaling", "model_zoo"),
    "analysis": ("analysis", "scaling.records", "scaling.units"),
}
# the only modules that may reach analysis, inside functions or for the type checker only
FACE = (
    "scaling.cli",
    "scaling.commands.report",
    "scaling.commands.report_tables",
    "scaling.commands.studied",
    "scaling.commands.verdict",
)

LOADS_NO_TORCH = (
    "scaling.sweep",
    "scaling.inputs",
    "scaling.predicting",
    "scaling.planning",
    "model_zoo.hardware_counts",
    "model_zoo.optimizer_counts",
    "model_zoo.phase_counts",
    "analysis",
)


# of modules whose package is not simply the first two parts of their name
PACKAGES = {
    "scaling.plan": "scaling.planning",  # a plan stands between what it is made of and what is made of it
    "scaling.train.engines": "scaling.train.engines",  # they know nothing of the rest of training
}


def modules(package: str) -> list[tuple[str, Path]]:
    """Dotted names and files of every module of one of our packages."""
    files = sorted((ROOT / package).rglob("*.py"))
    return [
        (".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path)
        for path in files
    ]


ALL_MODULES = {name: path for package in MAY_IMPORT for name, path in modules(package)}


def imports(module: str, path: Path) -> Iterator[tuple[str, bool]]:
    """Our own modules that a file imports, and whether it does so only inside a function or for the type checker."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    typing = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and is_name(node.test, "TYPE_CHECKING")
    ]
    inside = {id(node) for block in (*later, *typing) for node in ast.walk(block)}
    for node in ast.walk(tree):
        for name in imported_names(node, module, is_package=path.name == "__init__.py"):
            if name.partition(".")[0] in MAY_IMPORT:
                yield name, id(node) in inside


def is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def imported_names(node: ast.AST, module: str, is_package: bool) -> list[str]:
    """What an import statement names, as finely as it says: `from scaling import units` is scaling.units."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    parents = module.split(".") if is_package else module.split(".")[:-1]
    base = (
        [*parents[: len(parents) - node.level + 1], *filter(None, [node.module])]
        if node.level
        else [node.module or ""]
    )
    source = ".".join(base)
    submodules = [f"{source}.{alias.name}" for alias in node.names if f"{source}.{alias.name}" in ALL_MODULES]
    return submodules if len(submodules) == len(node.names) else [source, *submodules]


def is_allowed(name: str, package: str) -> bool:
    return any(name == allowed or name.startswith(f"{allowed}.") for allowed in MAY_IMPORT[package])


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_stands_before_it(package: str) -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in modules(package)
        for name, lazily in imports(module, path)
        if not is_allowed(name, package) and not (module in FACE and name.startswith("analysis") and lazily)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        module: {name for name, lazily in imports(module, path) if not lazily and name in ALL_MODULES}
        - {module}
        for module, path in ALL_MODULES.items()
    }
    circle = in_circles(graph)
    assert not circle, f"among these modules some import each other: {', '.join(circle)}"


def in_circles(graph: Mapping[str, set[str]]) -> list[str]:
    """What is left of a graph of needs when all whose needs are met have been taken away, one after the other."""
    left = dict(graph)
    while leaves := [name for name, needed in left.items() if not needed & left.keys()]:
        for name in leaves:
            del left[name]
    return sorted(left)


def package_of(module: str) -> str:
    """The package or top-level module that a module belongs to: scaling.data of scaling.data.text.words."""
    parts = module.split(".")
    longest_first = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((PACKAGES[name] for name in longest_first if name in PACKAGES), ".".join(parts[:2]))


def test_no_packages_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {package_of(module): set() for module in ALL_MODULES}
    for module, path in ALL_MODULES.items():
        needed = {package_of(name) for name, lazily in imports(module, path) if not lazily}
        graph[package_of(module)] |= needed - {package_of(module)}
    circle = in_circles(graph)
    assert not circle, f"among these packages some import each other: {', '.join(circle)}"


def test_a_circle_of_packages_is_found() -> None:
    assert in_circles({"a": {"b"}, "b": {"a"}, "c": {"a"}, "d": set()}) == ["a", "b", "c"]
    assert package_of("scaling.data.text.words") == "scaling.data"
    assert package_of("scaling.train.engines.fsdp") == "scaling.train.engines"
    assert package_of("scaling.plan") == package_of("scaling.planning.budget")


@pytest.mark.parametrize("module", LOADS_NO_TORCH)
def test_planning_and_analysis_load_no_torch(module: str) -> None:
    package = ROOT / module.replace(".", "/")
    names = [module, *(name for name, _ in modules(module))] if package.is_dir() else [module]
    script = f"import sys, {', '.join(names)}; print(sorted({{'torch', 'deepspeed'}} & sys.modules.keys()))"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]", f"{module} loads {result.stdout}"


def test_the_rule_sees_every_way_to_write_an_import() -> None:
    def names(text: str, module: str = "analysis.load", is_package: bool = False) -> list[str]:
        return imported_names(ast.parse(text).body[0], module, is_package)

    assert names("import scaling.train") == ["scaling.train"]
    assert names("from scaling import units") == ["scaling.units"]
    assert names("from scaling.units import parse_quantity") == ["scaling.units"]
    assert names("from scaling import __version__") == ["scaling"]
    assert names("from . import units", "scaling.plan") == ["scaling.units"]
    assert names("from ..units import parse_quantity", "scaling.data.convert") == ["scaling.units"]
    assert names("from .units import x", "scaling", is_package=True) == ["scaling.units"]
    assert not is_allowed("scaling.recordsmith", "analysis")
    assert not is_allowed("scaling", "analysis")


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name: {target for target, _ in imports(name, path)} for name, path in ALL_MODULES.items()}
    resolved = {
        name: {known for target in targets if (known := _known(target)) not in (None, name)}
        for name, targets in graph.items()
    }
    assert not in_circles(resolved), f"modules that wait for each other: {in_circles(resolved)}"


def _known(target: str) -> str | None:
    """The module that an imported name stands in."""
    return next((name for name in (target, target.rpartition(".")[0]) if name in ALL_MODULES), None)
