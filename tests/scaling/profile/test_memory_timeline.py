"""Every byte of a step has one class."""

from __future__ import annotations

from scaling.profile.memory_timeline import MOMENTS, Change, Span, timeline_of

FORWARD = Span(name="phase: forward", begin_ns=0, end_ns=100)


def change(at_ns: int, address: int, size: int) -> Change:
    return Change(at_ns=at_ns, address=address, size=size)


def mark(at_ns: int, address: int) -> Span:
    return Span(name=f"gradient at: {address}", begin_ns=at_ns, end_ns=at_ns)


def test_what_a_forward_pass_leaves_behind_is_an_activation_and_what_it_drops_is_temporary() -> None:
    changes = [change(10, 1, 5), change(20, 2, 7), change(30, 2, -7), change(200, 1, -5)]
    moments = timeline_of(changes, [FORWARD], {}).moments
    assert [moment.bytes_by_class["activations"] for moment in moments] == [0, 5, 5, 5, 0]
    assert [moment.bytes_by_class["temporaries"] for moment in moments] == [0, 0, 7, 0, 0]


def test_a_marked_allocation_is_a_gradient_also_where_forward_made_it() -> None:
    changes = [change(10, 1, 5), change(150, 2, 7), change(300, 1, -5), change(310, 2, -7)]
    moments = timeline_of(changes, [FORWARD, mark(160, 1), mark(170, 2)], {}).moments
    assert max(moment.bytes_by_class["gradients"] for moment in moments) == 12
    assert all(moment.bytes_by_class["activations"] == 0 for moment in moments)


def test_an_address_that_is_used_again_is_another_allocation() -> None:
    changes = [change(110, 1, 5), change(120, 1, -5), change(130, 1, 9)]
    moments = timeline_of(changes, [mark(140, 1)], {}).moments
    assert [moment.bytes_by_class["gradients"] for moment in moments] == [0, 0, 0, 9]
    assert [moment.bytes_by_class["temporaries"] for moment in moments] == [0, 5, 0, 0]


def test_a_release_of_what_was_there_before_takes_nothing_away() -> None:
    timeline = timeline_of([change(10, 1, -5), change(20, 2, 3)], [], {"parameters": 100})
    assert timeline.peak.total == 103
    assert min(moment.total for moment in timeline.moments) == 100


def test_a_long_timeline_is_thinned_and_keeps_its_peak() -> None:
    changes = [change(at, at, 1) for at in range(3_000)]
    changes += [change(3_000, 9_999, 500), change(3_001, 9_999, -500)]
    changes += [change(4_000 + at, at, -1) for at in range(3_000)]
    timeline = timeline_of(changes, [], {})
    assert len(timeline.moments) <= MOMENTS
    assert timeline.peak.total == 3_500
    assert timeline.moments[-1].total == 0
