"""Loads the state of a checkpoint into an engine, whatever engine, sharding and number of ranks wrote it."""

from __future__ import annotations

import dataclasses

from scaling.checkpoints.contents import UnreadableCheckpoint
from scaling.checkpoints.reading import Checkpoint, Tensors
from scaling.checkpoints.state_hash import state_hash, sum_of_hashes
from scaling.train.engines.protocol import Engine, Piece
from scaling.train.progress import Progress
from scaling.train.rank_group import RankGroup

NAMED_TENSORS = 5  # that a message lists


class StateDiffers(RuntimeError):
    """The state that an engine holds after taking over a checkpoint is not the checkpoint's."""


def progress_of(checkpoint: Checkpoint) -> Progress:
    """The progress in it; UnreadableCheckpoint if newer code counts more than this knows."""
    unknown = checkpoint.header.progress.keys() - {field.name for field in dataclasses.fields(Progress)}
    if unknown:
        raise UnreadableCheckpoint(
            f"{checkpoint.folder} counts {', '.join(sorted(unknown))}, which this version does not know: continue "
            "with the version that wrote it."
        )
    before = {"data_bytes": None}  # of a checkpoint that was written before they were counted
    return Progress(**{**before, **checkpoint.header.progress})


def take_over(checkpoint: Checkpoint, engine: Engine, group: RankGroup) -> None:
    """Continue from the checkpoint's weights, moments and buffers; called by all ranks.

    Raises UnreadableCheckpoint naming tensors that only one of the two has or whose shapes differ, StateDiffers if
    the engine's state afterwards does not have the hash that was written.
    """
    pieces = engine.pieces()
    check_fit(checkpoint, _merged(group.gather(_tensors(pieces))))
    checkpoint.fill(pieces)
    engine.take_over(checkpoint.header.optimizer_steps)
    found = sum_of_hashes(group.gather(state_hash(engine.pieces())))
    wrong = [kind for kind, written in checkpoint.header.state_hash.items() if found.get(kind) != written]
    if wrong:
        raise StateDiffers(
            f"{checkpoint.folder} was read, but the hash of {' and '.join(wrong)} in the engine differs from the one "
            "that was written: the engine does not hold what it was given. Do not continue this run with it."
        )


def _tensors(pieces: list[Piece]) -> Tensors:
    return {
        (piece.kind, piece.name): (piece.shape, str(piece.values.dtype).removeprefix("torch."))
        for piece in pieces
    }


def _merged(of_ranks: list[Tensors]) -> Tensors:
    return {key: value for tensors in of_ranks for key, value in tensors.items()}


def check_fit(checkpoint: Checkpoint, live: Tensors) -> None:
    """Raise UnreadableCheckpoint unless the checkpoint holds the very tensors that the engine has."""
    stored = checkpoint.tensors()
    missing, unknown = live.keys() - stored.keys(), stored.keys() - live.keys()
    differing = {key for key in stored.keys() & live.keys() if stored[key] != live[key]}
    complaints = [
        *_listed("not in it", [_described(key, live[key]) for key in missing]),
        *_listed("not in the model", [_described(key, stored[key]) for key in unknown]),
        *_listed(
            "different", [f"{_described(key, stored[key])}, now {_told(live[key])}" for key in differing]
        ),
    ]
    if complaints:
        raise UnreadableCheckpoint(
            f"{checkpoint.folder} does not fit the run's model: {'; '.join(complaints)}. Another version of the code "
            "wrote it: continue with that one, or delete the folder checkpoints to start anew."
        )


def _told(tensor: tuple[tuple[int, ...], str]) -> str:
    shape, dtype = tensor
    return f"{list(shape)} {dtype}"


def _described(key: tuple[str, str], tensor: tuple[tuple[int, ...], str]) -> str:
    kind, name = key
    return f"{kind} {name} {_told(tensor)}"


def _listed(what: str, tensors: list[str]) -> list[str]:
    """What is wrong with some tensors, as one phrase; none for none."""
    if not tensors:
        return []
    more = f" and {len(tensors) - NAMED_TENSORS} more" if len(tensors) > NAMED_TENSORS else ""
    return [f"{what}: {', '.join(sorted(tensors)[:NAMED_TENSORS])}{more}"]
