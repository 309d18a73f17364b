from __future__ import annotations

from scaling.processes.assignment import Outcome, joint_outcome


def test_a_killed_rank_explains_the_broken_connection_of_the_others() -> None:
    outcomes = [
        Outcome(state="error", reason="Connection closed by peer", at=1.0),
        Outcome(state="killed", reason="rank 1 got SIGKILL", at=2.0),
        Outcome(state="stopped", at=3.0),
    ]
    assert joint_outcome(outcomes).reason == "rank 1 got SIGKILL"


def test_the_first_of_equal_failures_is_the_cause() -> None:
    outcomes = [
        Outcome(state="error", reason="Connection closed by peer", at=2.0),
        Outcome(state="error", reason="KeyError: 'jpg'", at=1.0),
    ]
    assert joint_outcome(outcomes).reason == "KeyError: 'jpg'"


def test_a_point_is_done_only_if_every_rank_is() -> None:
    assert joint_outcome([Outcome(state="done"), Outcome(state="done")]).is_good
    assert not joint_outcome([Outcome(state="done"), Outcome(state="preempted")]).is_good


def test_what_breaks_connections_explains_the_errors_of_ranks_that_lost_theirs() -> None:
    lost = Outcome(state="error", reason="Connection closed by peer", at=1.0)
    for state in ("killed", "oom", "shard_corrupt", "diverged", "hung"):
        assert joint_outcome([lost, Outcome(state=state, at=2.0)]).state == state
    assert joint_outcome([Outcome(state="preempted"), Outcome(state="stopped")]).state == "preempted"
