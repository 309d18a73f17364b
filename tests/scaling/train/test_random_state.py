"""Random numbers: a function of seed and rank, replayed without a trace."""

from __future__ import annotations

import torch

from scaling.train.random_state import RandomState, seed_rank

CPU = torch.device("cpu")


def test_what_was_drawn_from_a_state_is_drawn_again_and_leaves_no_trace() -> None:
    torch.manual_seed(0)
    state = RandomState.of(CPU)
    first, after = torch.rand(4), torch.rand(4)
    torch.manual_seed(0)
    torch.rand(4)
    with state.replayed():
        assert torch.equal(torch.rand(4), first)
    assert torch.equal(torch.rand(4), after)


def test_draws_depend_on_seed_and_rank() -> None:
    drawn = {}
    for seed, rank in ((0, 0), (0, 1), (1, 0), (0, 0)):
        seed_rank(seed, rank)
        numbers = tuple(torch.rand(3).tolist())
        assert drawn.setdefault((seed, rank), numbers) == numbers
    assert len(set(drawn.values())) == 3
