"""What any cut of a training state writes, any other cut reads; and a hash that does not depend on the cut."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import xxhash
from cut_engine import Cut, CutEngine, State, a_state, equal, even_cuts, joined
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling.checkpoints.contents import HEADER, Header, Manifest, manifest_file, seal_of, sealed, unsealed
from scaling.checkpoints.publishing import check_whole
from scaling.checkpoints.reading import Checkpoint, consolidate
from scaling.checkpoints.state_hash import CHUNK_ELEMENTS, hash_of_values, state_hash, sum_of_hashes
from scaling.checkpoints.writing import copy_of_pieces, write_share

MOST_RANKS = 4


def write(folder: Path, engines: list[CutEngine]) -> Checkpoint:
    """A checkpoint of these engines' pieces, as ranks 0, 1, ... would write it."""
    folder.mkdir()
    for rank, engine in enumerate(engines):
        write_share(folder, rank, copy_of_pieces(engine.pieces()))
    files = [manifest_file(folder, rank) for rank in range(len(engines))]
    manifests = [unsealed(file, Manifest) for file in files]
    check_whole(entry for manifest in manifests for entry in manifest.entries)
    header = Header(
        progress={},
        optimizer_steps=0,
        environment={},
        state_hash=sum_of_hashes(manifest.state_hash for manifest in manifests),
        manifests=tuple(seal_of(file.read_text()) for file in files),
    )
    (folder / HEADER).write_text(sealed(header))
    return Checkpoint.open(folder)


@st.composite
def cuts_of(draw: Any, state: State) -> tuple[int, dict[tuple[str, str], Cut]]:
    """A number of ranks, and for each tensor parts of any length, each of any rank; empty parts included."""
    num_ranks = draw(st.integers(1, MOST_RANKS))
    cuts = {}
    for key, tensor in state.items():
        ends = sorted(draw(st.lists(st.integers(0, tensor.numel()), max_size=5))) + [tensor.numel()]
        cuts[key] = [(end, draw(st.integers(0, num_ranks - 1))) for end in ends]
    return num_ranks, cuts


def engines_of(state: State, num_ranks: int, cuts: Mapping[tuple[str, str], Cut]) -> list[CutEngine]:
    return [CutEngine(state, cuts, rank) for rank in range(num_ranks)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cut_of_the_state_is_read_back_bit_for_bit_into_any_other_cut(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = a_state()
    writers = engines_of(state, *data.draw(cuts_of(state)))
    readers = engines_of(state, *data.draw(cuts_of(state)))
    checkpoint = write(tmp_path_factory.mktemp("cut") / "step-000000001", writers)
    checkpoint.verify(range(checkpoint.num_ranks))
    for reader in readers:
        reader.forget()
        checkpoint.fill(reader.pieces())
    assert equal(joined(readers, state), state)
    assert (
        sum_of_hashes(map(_hash, readers)) == checkpoint.header.state_hash
    ), "the hash is the cut's business"
    whole = consolidate(checkpoint.folder)
    assert equal(
        {key: whole[key[1]] for key in state if key[0] in ("weight", "buffer")},
        {key: tensor for key, tensor in state.items() if key[0] in ("weight", "buffer")},
    )


def _hash(engine: CutEngine) -> dict[str, int]:
    return state_hash(engine.pieces())


@pytest.mark.parametrize("key", sorted(a_state()))
def test_one_changed_bit_anywhere_changes_the_hash_of_its_kind_and_of_no_other(key: tuple[str, str]) -> None:
    state = a_state()
    before = _hash(CutEngine(state, even_cuts(state, 1), 0))
    flat = (
        state[key]
        .reshape(-1)
        .view({4: torch.int32, 8: torch.int64, 1: torch.uint8}[state[key].element_size()])
    )
    flat[-1] ^= 1
    after = _hash(CutEngine(state, even_cuts(state, 1), 0))
    assert [kind for kind in before if before[kind] != after[kind]] == [key[0]]


def test_swapped_values_and_swapped_tensors_change_the_hash() -> None:
    """A plain sum of bits would miss both: what a wrong partition offset does to a state."""
    values = torch.arange(6, dtype=torch.float32)
    right = hash_of_values("weight", "a", 0, values)
    assert hash_of_values("weight", "a", 0, values.flip(0)) != right
    assert hash_of_values("weight", "a", 1, values) != right
    assert hash_of_values("weight", "b", 0, values) != right
    assert hash_of_values("exp_avg", "a", 0, values) != right
    assert hash_of_values("weight", "a", 0, torch.zeros(0)) == 0


def test_the_hash_is_that_of_the_formula_and_chunks_do_not_show() -> None:
    """The same in plain integers, as section 5 of the splitmix64 paper has it, for a few elements of a long tensor."""
    mask = 2**64 - 1

    def mix(value: int) -> int:
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        return value ^ (value >> 31)

    def expected(values: list[float], start: int) -> int:
        total = 0
        for index, value in enumerate(values, start):
            bits = struct.unpack("<i", struct.pack("<f", value))[0]
            salt = xxhash.xxh64_intdigest("weight/a/torch.float32") - 2**63
            total += mix((mix((index * 0x9E3779B97F4A7C15 + salt) & mask) + bits) & mask)
        return total & mask

    values = [0.5, -1.25, 0.0, -0.0, 3e30]
    assert hash_of_values("weight", "a", 2**33, torch.tensor(values)) == expected(values, 2**33)
    long = torch.randn(CHUNK_ELEMENTS + 3)
    parts = hash_of_values("weight", "a", 0, long[:7]) + hash_of_values("weight", "a", 7, long[7:])
    assert hash_of_values("weight", "a", 0, long) == parts % 2**64


@pytest.mark.parametrize(
    ("cut", "element"), [([(10, 0), (35, 9)], 10), ([(35, 0), (35, 1)], 35), ([(20, 9), (35, 0)], 0)]
)
def test_pieces_that_leave_a_gap_or_overlap_make_no_checkpoint(
    tmp_path: Path, cut: Cut, element: int
) -> None:
    """Owner 9 is no rank: its part is nobody's. Two ranks that own the same part are one too many."""
    state = a_state()
    cuts = {**even_cuts(state, 2), ("weight", "head.weight"): cut}
    engines = engines_of(state, 2, cuts)
    if cut[-1][1] == 1:
        engines[1] = CutEngine(state, {**cuts, ("weight", "head.weight"): [(35, 1)]}, 1)
    with pytest.raises(
        RuntimeError, match=rf"weight head.weight \[5, 7\]: .* overlap or leave a gap at element {element},"
    ):
        write(tmp_path / "step-000000001", engines)
