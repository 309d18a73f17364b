from __future__ import annotations

import torch

from scaling.train.engines.protocol import Piece, PieceKind
from scaling.train.non_finite import NonFinite, describe_non_finite, names_of_non_finite


def piece(name: str, kind: PieceKind = "weight", *, bad: float | None = None) -> Piece:
    """A part of a tensor that another rank has the rest of."""
    values = torch.ones(3)
    if bad is not None:
        values[1] = bad
    return Piece(name=name, kind=kind, shape=(2, 3), start=3, values=values, is_mine=True)


def test_what_is_not_finite_is_named_by_its_whole_tensor_and_weights_come_first() -> None:
    counts = Piece(name="c", kind="buffer", shape=(1,), start=0, values=torch.tensor([2**62]), is_mine=True)
    pieces = [piece("a", "exp_avg", bad=torch.nan), piece("b"), piece("d", bad=torch.inf), counts]
    names = names_of_non_finite(pieces)
    assert names == ["d [2, 3]", "exp_avg of a [2, 3]"]
    assert describe_non_finite(names).startswith(
        "not finite: d [2, 3], exp_avg of a [2, 3]. Lower learning_rate"
    )


def test_finite_weights_point_to_the_samples_and_many_others_are_counted() -> None:
    assert "all weights are finite" in describe_non_finite(names_of_non_finite([piece("a")]))
    assert "w4 and 3 more." in describe_non_finite([f"w{number}" for number in range(8)])


def test_a_fault_says_what_and_when() -> None:
    assert str(NonFinite(1234, "gradient")) == "the gradient of step 1,234 is not finite"
    assert str(NonFinite(1234, "weights")) == "the weights of step 1,234 are not finite"
