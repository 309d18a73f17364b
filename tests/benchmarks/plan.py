"""Planning against the interpreter's own start: 200 points should cost about as much as importing the planner."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from scaling.planning.requested_plan import PlanRequest, requested_plan
from scaling.spec import load_sweep

SWEEP = Path(__file__).resolve().parents[2] / "sweeps" / "model_scale.yaml"
DIFFERENT = (  # 5 batches and 5 lengths of 8 points, so that no placement is found once for many
    "global_batch=[2048,4096,8192,16384,32768]",
    "samples_seen=[64M,128M,256M,512M,1B]",
)


def main() -> None:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import scaling.planning.requested_plan"], check=True)
    starting = time.perf_counter() - start
    start = time.perf_counter()
    sweep = load_sweep(SWEEP, DIFFERENT)
    request = PlanRequest(
        num_devices=64,
        accelerator="h200_sxm",
        usd_per_hour=2.5,
        jobs=4,
        budget="500 device-hours",
        runs=Path("absent"),
    )
    plan = requested_plan(sweep, request)
    planning = time.perf_counter() - start
    print(
        f"planning {len(plan.points)} points (money, memory, schedule and budget) takes {planning:.2f} s, "
        f"{planning / starting:.2f} x the start of Python with the planner"
    )


if __name__ == "__main__":
    main()
