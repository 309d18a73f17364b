"""A few steps under ZeRO-3 with each mode of activation checkpointing: `python zero3_recomputing_run.py PORT`."""

from __future__ import annotations

import dataclasses
import json
import os
import sys

import torch
from engine_oracle import Case, objective_of, settings_of, train

TOWERS = {"vit_nano8": 16, "convnext_nano": 32}
MODES = ("none", "blocks", "operations", "offload")


def main(port: str) -> None:
    """Print the losses and norms by tower and mode, as JSON on the last line."""
    one_rank = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "LOCAL_SIZE": "1"}
    os.environ.update(one_rank, MASTER_ADDR="127.0.0.1", MASTER_PORT=port, DS_ACCELERATOR="cpu")
    import deepspeed

    from scaling.train.engines import build_engine

    deepspeed.init_distributed(verbose=False)
    found = {}
    for tower, image_size in TOWERS.items():
        for mode in MODES:
            case = Case(
                objective="clip",
                image_tower=tower,
                image_size=image_size,
                num_steps=3,
                micro_batch=4,
                changes=(("drop_path", 0.3),),
                building=(("activation_checkpointing", mode),),
            )
            torch.manual_seed(1)
            engine = build_engine("deepspeed", objective_of(case), settings_of(case))
            found[f"{tower} {mode}"] = [dataclasses.astuple(row) for row in train(engine, case)]
    print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
