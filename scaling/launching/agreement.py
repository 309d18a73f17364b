"""How the parents of all ranks agree on what to do next: short JSON messages in rank 0's store."""

from __future__ import annotations

import datetime
import json
import os
import time
from collections.abc import Callable
from typing import Any

from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]  # not in its __all__

from scaling.processes.ranks import Rank, free_port

POLL_SECONDS = 0.1
STORE_TIMEOUT = datetime.timedelta(minutes=5)  # until every rank's parent has started


class PeerLost(RuntimeError):
    """Another rank's parent is gone, or did not answer in time."""


class Agreement:
    """Named messages, each published once and read by all ranks."""

    def __init__(self, rank: Rank) -> None:
        # torchrun may restart all ranks while the store still holds the messages of the ranks before
        restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._store = PrefixStore(f"scaling-{restart}", _connect(rank))
        self._rank = rank

    def publish(self, key: str, message: Any) -> None:
        """Make `message` (anything JSON holds) readable under `key` by every rank."""
        try:
            self._store.set(key, json.dumps(message))
        except RuntimeError as error:
            raise PeerLost(f"rank 0 is gone ({error})") from error

    def publish_first(self, key: str, message: Any) -> None:
        """Make `message` readable under `key` unless a rank has published another there."""
        try:
            self._store.compare_set(key, "", json.dumps(message))
        except RuntimeError as error:
            raise PeerLost(f"rank 0 is gone ({error})") from error

    def peek(self, key: str) -> Any | None:
        """The message under `key`, None if nobody published it yet."""
        try:
            return json.loads(self._store.get(key)) if self._store.check([key]) else None
        except RuntimeError as error:
            raise PeerLost(f"rank 0 is gone ({error})") from error

    def wait(
        self, key: str, *, while_waiting: Callable[[], None] = lambda: None, seconds: float | None = None
    ) -> Any:
        """The message under `key`, as soon as it is there; `while_waiting` is called between looks."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while (message := self.peek(key)) is None:
            while_waiting()
            if deadline is not None and time.monotonic() > deadline:
                raise PeerLost(f"no word about {key!r} within {seconds:.0f} s")
            time.sleep(POLL_SECONDS)
        return message

    def finish(self) -> None:
        """Leave together: rank 0 keeps its store until the others have read what they need."""
        self.publish(f"finished/{self._rank.rank}", True)
        if self._rank.is_main:
            for other in range(self._rank.num_ranks):
                self.wait(f"finished/{other}", seconds=60)
        else:
            time.sleep(2 * POLL_SECONDS)


def _connect(rank: Rank) -> Store:
    """Rank 0 listens where the launcher said; under torchrun its agent already does."""
    has_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return TCPStore(
        rank.master_address,
        rank.master_port or free_port(),
        is_master=rank.is_main and not has_agent,
        wait_for_workers=False,
        timeout=STORE_TIMEOUT,
    )
