"""Signals that ask a process to stop, as it hears them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from scaling.train.preemption import Preemption

LISTENS = """
import os, sys, threading
from scaling.train.preemption import Preemption

def end(reason):
    print("ended:", reason, flush=True)
    os._exit(75)

preemption = Preemption(end)
preemption.listen()
"""

WAITS_IN_A_LIBRARY = """
import datetime, torch.distributed as dist
print("ready", flush=True)
dist.TCPStore("127.0.0.1", 0, world_size=2, is_master=True, timeout=datetime.timedelta(seconds=60))
"""

TRAINS = """
import time
with preemption.heeded():
    print("ready", flush=True)
    while not preemption.is_asked:
        time.sleep(0.01)
    time.sleep(0.5)  # a checkpoint
    print("checkpoint", flush=True)
print("evaluation", flush=True)
"""

FAILS = """
import time
try:
    with preemption.heeded():
        print("ready", flush=True)
        while not preemption.is_asked:
            time.sleep(0.01)
        raise RuntimeError("peers are gone")
except RuntimeError as error:
    print("failed:", error, flush=True)
"""


def _after(program: str, *signals: int) -> tuple[int, list[str]]:
    """Exit status and lines of a program that got the signals once it was ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENS + program], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    for number in signals:
        process.send_signal(number)
    rest = process.stdout.read().splitlines()
    return process.wait(timeout=60), rest


@pytest.mark.slow
def test_a_process_that_waits_for_other_ranks_ends_at_once() -> None:
    """It waits inside a library, where no Python handler would run for a minute."""
    began = time.monotonic()
    assert _after(WAITS_IN_A_LIBRARY, signal.SIGUSR1) == (75, ["ended: SIGUSR1 received"])
    assert time.monotonic() - began < 50


def test_training_goes_on_to_its_checkpoint_and_then_ends() -> None:
    """However often it is told meanwhile."""
    status, lines = _after(TRAINS, signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM)
    assert (status, lines[0]) == (75, "checkpoint")
    assert lines[1:] in (["ended: SIGUSR2 received"], ["ended: SIGTERM received"])


def test_training_that_fails_after_a_request_says_so_itself() -> None:
    assert _after(FAILS, signal.SIGTERM) == (0, ["failed: peers are gone"])


def test_other_signals_ask_for_nothing() -> None:
    program = "import signal; signal.signal(signal.SIGALRM, lambda *_: None)\n" + TRAINS
    status, lines = _after(program, signal.SIGALRM, signal.SIGUSR1)
    assert (status, lines[-1]) == (75, "ended: SIGUSR1 received")


def test_a_request_is_noted_where_it_is_heeded_and_ends_the_process_elsewhere() -> None:
    ended: list[str] = []
    preemption = Preemption(ended.append)
    with preemption.heeded():
        assert not preemption.is_asked
    assert ended == []
    with pytest.raises(KeyError), preemption.heeded():
        preemption.ask("first")
        preemption.ask("second")
        assert preemption.is_asked and ended == []
        raise KeyError
    assert ended == []
    preemption.ask("third")
    assert ended == ["third"]
