from __future__ import annotations

import pytest
from deepspeed.launcher import runner

from scaling.launch import parse_arguments

EVERY_FLAG = [
    *("--only", "clip-*"),
    *("--set", "samples_seen=1K"),
    "--retry-failed",
    "--replan",
    *("--runs", "elsewhere"),
    *("--accelerator", "h200_sxm"),
    *("--drill", "hang"),
]


def test_deepspeeds_launcher_passes_every_flag_of_ours_on() -> None:
    """It refuses any that is an ambiguous prefix of one of its own, even behind the script's name."""
    parsed = runner.parse_args(["launch", "sweeps/x.yaml", *EVERY_FLAG])
    assert parsed.user_script == "launch"
    ours = parse_arguments(parsed.user_args)
    assert (ours.only, ours.set, ours.retry_failed) == ("clip-*", ["samples_seen=1K"], True)


def test_the_rank_that_deepspeed_inserts_before_our_arguments_is_accepted() -> None:
    assert parse_arguments(["--local_rank=1", "sweeps/x.yaml"]).sweep.name == "x.yaml"


def test_a_shortened_flag_would_be_refused_by_deepspeed_which_is_why_we_check() -> None:
    with pytest.raises(SystemExit):
        runner.parse_args(["launch", "sweeps/x.yaml", "--num", "3"])
