"""How good the ratio interval is: coverage and power in simulated studies, and the sizes of the nested tests.

Worlds are those of analysis/comparison/worlds.py; every point is fitted with the bounded surface, whatever made it.
Prints Markdown; the committed table is that of

    OMP_NUM_THREADS=1 python tests/benchmarks/coverage.py > tests/benchmarks/coverage.md
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterator

from analysis.comparison.coverage import Coverage, coverage
from analysis.comparison.nested import nested_tests
from analysis.comparison.worlds import DESIGNS, TRUTHS, Design, Noise, simulate

TARGET = (0.90, 0.99)  # coverage of a 95 % interval with the true form
DEFAULT = DESIGNS[-1]
ALL_SHARED = Noise(shared_cell=0.024, own_cell=0.0, run=0.016)
LEVELS = (0.05, 0.1)

HEAD = (
    "| design | points from | true ratio | at | coverage (95 % range) | closed | median doublings | 1 excluded |\n"
    "|---|---|---|---|---|---|---|---|"
)

MISSPECIFIED_SHARE = 0.5  # of the worlds: these rows are reported, not held to a target
SIZE_SHARE = 0.3  # of the worlds, for the nested tests
Job = tuple[Design, str, float, Noise, str]


def jobs() -> Iterator[Job]:
    """Design, truth, ratio and noise of every row, with its title."""
    usual = Noise()
    for design in DESIGNS:
        yield design, "bounded", 1.0, usual, "bounded (the fitted form)"
    for design in DESIGNS:
        yield design, "bounded", 1.3, usual, "bounded (the fitted form)"
    for design in (DESIGNS[0], DESIGNS[2], DEFAULT):
        yield design, "bounded", 1.3, ALL_SHARED, "bounded, noise of cells all shared"
    for truth in ("coupled", "additive", "broken"):
        for design in DESIGNS:
            yield design, truth, 1.0, usual, truth
        yield DEFAULT, truth, 1.3, usual, truth


def counted(number_and_worlds: tuple[int, int]) -> tuple[Coverage, ...]:
    """The coverage of a row, by its number (designs hold read-only mappings, which do not travel)."""
    number, num_worlds = number_and_worlds
    design, truth, ratio, noise, _ = list(jobs())[number]
    num_worlds = num_worlds if truth == "bounded" else int(num_worlds * MISSPECIFIED_SHARE)
    return coverage(design, num_worlds=num_worlds, ratio=ratio, truth=TRUTHS[truth], noise=noise)


def row(title: str, found: Coverage) -> str:
    low, high = found.range
    width = "open" if found.median_doublings == float("inf") else f"{found.median_doublings:.2f}"
    place = "largest compute" if found.at == 1 else f"{found.at:g} times it"
    return (
        f"| {found.design} | {title} | {found.ratio:g} | {place} | {found.share:.1%} ({low:.0%} to {high:.0%}) "
        f"| {found.num_closed / found.num_worlds:.0%} | {width} | {found.num_decided / found.num_worlds:.0%} |"
    )


def p_values(seed: int) -> list[float]:
    """Of the nested tests in a world in which the pure multiplier holds."""
    tests, _ = nested_tests(*simulate(DEFAULT, seed=seed, ratio=1.3), num_refits=99, seed=seed)
    return [test.p_value for test in tests]


def print_sizes(worlds: multiprocessing.pool.Pool, num_worlds: int) -> None:
    names = ("same exponents", "same floor", "pure compute multiplier")
    num_worlds = max(1, num_worlds)
    drawn = worlds.map(p_values, range(num_worlds))
    print(f"\nNested tests in {num_worlds} worlds of '{DEFAULT.name}' in which every restriction holds:\n")
    print(
        "| restriction | " + " | ".join(f"rejected at {level:.0%}" for level in LEVELS) + " |\n|---|---|---|"
    )
    for column, name in enumerate(names):
        shares = [sum(world[column] <= level for world in drawn) / num_worlds for level in LEVELS]
        print(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    command = "OMP_NUM_THREADS=1 python tests/benchmarks/coverage.py > tests/benchmarks/coverage.md"
    print("# Coverage and power of the equal-compute ratio\n")
    fewer = int(arguments.worlds * MISSPECIFIED_SHARE)
    print(
        f"{arguments.worlds} simulated studies per row ({fewer} where points are not from the fitted form),"
    )
    print(f"95 % intervals; `{command}`.")
    usual = Noise()
    print(
        f"Noise (logits): cell, both objectives {usual.shared_cell}; cell, one objective {usual.own_cell}; "
        f"run {usual.run}.  'All shared': {ALL_SHARED.shared_cell}, {ALL_SHARED.own_cell}, {ALL_SHARED.run}.\n"
    )
    print(HEAD, flush=True)
    missed = []
    with multiprocessing.Pool(arguments.processes) as worlds:
        rows = list(jobs())
        work = [(number, arguments.worlds) for number in range(len(rows))]
        for (design, truth, ratio, _, title), found in zip(rows, worlds.imap(counted, work), strict=True):
            for at in found:
                print(row(title, at), flush=True)
                in_target = at.range[0] <= TARGET[1] and at.range[1] >= TARGET[0]
                if truth == "bounded" and ratio == 1 and not in_target:
                    missed.append(f"{design.name} at {at.at:g}: {at.share:.1%}")
        print_sizes(worlds, int(arguments.worlds * SIZE_SHARE))
    told = "; ".join(missed) or "none"
    print(
        f"\nRows of equal objectives and the fitted form outside {TARGET[0]:.0%} to {TARGET[1]:.0%}, "
        f"beyond what {arguments.worlds} worlds can tell: {told}."
    )
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
