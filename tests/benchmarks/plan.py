"""Planning against the interpreter's own start: 200 points should cost about as much as importing the planner."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from scaling.plan import plan_sweep
from scaling.points import resolve_points
from scaling.spec import load_sweep

SWEEP = Path(__file__).resolve().parents[2] / "sweeps" / "model_scale.yaml"


def main() -> None:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import scaling.plan"], check=True)
    starting = time.perf_counter() - start
    start = time.perf_counter()
    sweep = load_sweep(SWEEP, [f"seeds={list(range(25))}"])
    plan = plan_sweep(resolve_points(sweep, num_ranks=64, require_data=False), "h200_sxm")
    planning = time.perf_counter() - start
    print(
        f"planning {len(plan.points)} points takes {planning / starting:.2f} x the start of Python with the planner"
    )


if __name__ == "__main__":
    main()
