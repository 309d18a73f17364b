"""The drill corrupt-shard: a store returns other bytes than were written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import xxhash

from scaling.drill.finding import Finding, Witness
from scaling.drill.launched import NUM_RANKS, find_run
from scaling.drill.site import Site
from scaling.launching.preflight import check_data
from scaling.records import RunDirectory

DRILL = "corrupt-shard"
DONE = "one bit flipped in a shard of a store, from which a run fetches it; the same set in place"
EXPECTED = "shard_corrupt, naming the shard and both hashes; in place, refused before training"


def play(site: Site) -> list[Finding]:
    """The findings of a run on one rank that fetches its training set from a damaged store."""
    witness, store, runs = Witness(), site.folder / "store", site.folder / "of-damaged"
    shutil.copytree(site.data / "train", store)
    shard = next(store.rglob("*.mds"))
    _flip_a_bit(shard)
    ended = site.launch(site.sweep("damaged", train=f"file://{store}"), runs, num_ranks=1).end()
    run = find_run(runs, 0)
    witness.expect(run is not None, "the launch began a run", ended.output[-300:])
    if run is not None:
        _look_at(run, shard, witness)
    witness.expect(ended.status == 1, "exit 1", ended.status)
    _try_in_place(site, store, witness)
    witness.expect(not ended.left_behind, "nothing left behind", ", ".join(ended.left_behind))
    return [witness.finding(DRILL, DONE, EXPECTED)]


def _look_at(run: RunDirectory, shard: Path, witness: Witness) -> None:
    status = run.read_status()
    witness.expect(status.state == "shard_corrupt", "shard_corrupt", f"{status.state}: {status.reason}")
    named, reason = (str(status.facts.get(key, "")) for key in ("shard", "reason"))
    witness.expect(named.endswith(shard.name), f"names {shard.name}", status.facts)
    hashes = (_hash_in_index(shard), xxhash.xxh64_hexdigest(shard.read_bytes()))
    witness.expect(
        all(value in reason for value in hashes), "the hash in the index and the one found", reason
    )


def _try_in_place(site: Site, folder: Path, witness: Witness) -> None:
    points = site.points(site.sweep("in-place", train=str(folder)), NUM_RANKS)
    told = ""
    try:
        check_data(points, read_all=True)
    except ValueError as error:
        told = str(error)
    witness.expect("is damaged" in told, "in place, refused before training", told)


def _flip_a_bit(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


def _hash_in_index(shard: Path) -> str:
    """The xxh64 that the index of a shard's set says it has."""
    index = next(folder / "index.json" for folder in shard.parents[1:] if (folder / "index.json").exists())
    entries = json.loads(index.read_text())["shards"]
    raw = next(entry["raw_data"] for entry in entries if entry["raw_data"]["basename"].endswith(shard.name))
    return str(raw["hashes"]["xxh64"])
