"""An engine that is nothing but a training state cut into pieces, and ranks that are threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from scaling.train.engines.protocol import Piece
from scaling.train.rank_group import RankGroup

Result = TypeVar("Result")
State = dict[tuple[str, str], Tensor]  # (kind, name) -> the whole tensor
Cut = Sequence[tuple[int, int]]  # (end, owner) of consecutive flat parts of a tensor, in order


def a_state(seed: int = 0) -> State:
    """Weights, AdamW's moments and buffers of several types; one weight is frozen and has no moments."""
    draws = torch.Generator().manual_seed(seed)
    weights = {"head.weight": (5, 7), "head.bias": (5,), "frozen": (3, 4)}
    state: State = {("weight", name): torch.randn(shape, generator=draws) for name, shape in weights.items()}
    for kind in ("exp_avg", "exp_avg_sq"):
        for name in ("head.weight", "head.bias"):
            state[kind, name] = torch.randn(weights[name], generator=draws)
    state["buffer", "norm.num_batches_tracked"] = torch.tensor(3 + seed)
    state["buffer", "norm.is_warm"] = torch.tensor([True, False])
    return state


def even_cuts(state: State, num_ranks: int) -> dict[tuple[str, str], Cut]:
    """Every tensor cut evenly over the ranks; buffers belong to rank 0."""
    return {
        key: (
            [(tensor.numel(), 0)]
            if key[0] == "buffer"
            else [((rank + 1) * tensor.numel() // num_ranks, rank) for rank in range(num_ranks)]
        )
        for key, tensor in state.items()
    }


class CutEngine:
    """Rank `rank`'s part of a state under given cuts; buffers are whole on every rank, as engines keep them."""

    device = torch.device("cpu")

    def __init__(self, state: State, cuts: Mapping[tuple[str, str], Cut], rank: int) -> None:
        self.optimizer_steps = 0
        self._pieces: list[Piece] = []
        for (kind, name), whole in state.items():
            start = 0
            for end, owner in cuts[kind, name]:
                if owner == rank or kind == "buffer":
                    self._pieces.append(
                        Piece(
                            name=name,
                            kind=kind,  # type: ignore[arg-type]
                            shape=tuple(whole.shape),
                            start=start,
                            values=whole.reshape(-1)[start:end].clone(),
                            is_mine=owner == rank,
                        )
                    )
                start = end

    def pieces(self) -> list[Piece]:
        return self._pieces

    def take_over(self, optimizer_steps: int) -> None:
        self.optimizer_steps = optimizer_steps

    def forget(self) -> None:
        """As a fresh engine that has not taken over anything."""
        for piece in self._pieces:
            piece.values.fill_(0)


def joined(engines: Sequence[CutEngine], like: State) -> State:
    """The whole state from the pieces of all ranks."""
    whole = {key: torch.zeros_like(tensor).reshape(-1) for key, tensor in like.items()}
    for engine in engines:
        for piece in engine.pieces():
            if piece.is_mine:
                whole[piece.kind, piece.name][piece.start : piece.start + len(piece.values)] = piece.values
    return {key: flat.reshape(like[key].shape) for key, flat in whole.items()}


def equal(one: State, other: State) -> bool:
    """Whether all tensors are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def on_ranks(num_ranks: int, do: Callable[[RankGroup], Result]) -> list[Result]:
    """What `do` returns on each rank, ranks being threads; raises the first rank's own error."""
    meeting = threading.Barrier(num_ranks)
    board: list[Any] = [None] * num_ranks
    results: list[Any] = [None] * num_ranks
    errors: list[Exception | None] = [None] * num_ranks

    def run(rank: int) -> None:
        def gather(value: Any) -> list[Any]:
            board[rank] = value
            meeting.wait(30)
            values = list(board)
            meeting.wait(30)
            return values

        try:
            results[rank] = do(RankGroup(rank=rank, num_ranks=num_ranks, gather=gather))
        except Exception as error:
            errors[rank] = error
            meeting.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(num_ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [error for error in errors if error is not None]
    own = [error for error in found if not isinstance(error, threading.BrokenBarrierError)]
    if found:
        raise (own or found)[0]
    return results
