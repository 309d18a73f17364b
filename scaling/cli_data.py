"""The `scaling data` commands: data sets made, converted, checked and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scaling.placement import usable_cpus

data_app = typer.Typer(no_args_is_help=True, help="Data sets: render, convert, check, count.")

Workers = Annotated[int, typer.Option(help="parallel processes")]


@data_app.command()
def render(
    destination: Annotated[Path, typer.Argument(metavar="DST")],
    train: Annotated[int, typer.Option(help="training scenes")] = 40_000,
    image_size: Annotated[int, typer.Option(help="pixels per side")] = 64,
    seed: Annotated[int, typer.Option(help="another seed, other scenes")] = 0,
    workers: Workers = usable_cpus(),
) -> None:
    """Draw captioned scenes into MDS shards: the offline data set of the quickstart."""
    from scaling.data import rendered

    settings = rendered.RenderSettings(train=train, image_size=image_size, seed=seed)
    is_new = rendered.render(destination, settings, workers=workers)
    Console().print(f"{destination}: " + ("rendered" if is_new else "rendered before, nothing to do"))


@data_app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC")],
    destination: Annotated[Path, typer.Argument(metavar="DST")],
    workers: Workers = usable_cpus(),
) -> None:
    """Convert webdataset tars (img2dataset, DataComp: .jpg .txt .json) into MDS shards."""
    from scaling.data.convert import convert_tars
    from scaling.tables import manifest_table

    manifest = convert_tars(source, destination, workers=workers)
    Console().print(manifest_table(destination, manifest))


@data_app.command()
def check(folder: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Verify the shards of an MDS folder: presence, sizes, hashes."""
    from scaling.data.indexed import preflight
    from scaling.shard_index import read_shard_index

    found = preflight(folder)
    samples = read_shard_index(folder).num_samples
    Console().print(
        f"{folder}: {samples:,} samples in {found.num_shards:,} shards, {found.num_bytes:,} bytes; "
        f"hashes {found.hashes}" + (f" ({found.reason})" if found.reason else ""),
        soft_wrap=True,
    )


@data_app.command()
def count(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    labels: Annotated[str, typer.Option(metavar="TOKENIZER", help="whose labels, e.g. clip_bpe or words")],
    output: Annotated[Path | None, typer.Option(help="default: counts-TOKENIZER.json or words.json")] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="its file, as data.vocabularies.TOKENIZER")] = None,
    context_length: Annotated[int, typer.Option(help="tokens, start and end included")] = 77,
    remove_stop_words: Annotated[
        bool, typer.Option("--remove-stop-words", help="as in a sweep with remove_stop_words: true")
    ] = False,
    reference_compat: Annotated[
        bool, typer.Option("--reference-compat", help="as in a sweep with reference_compat: true")
    ] = False,
    words: Annotated[str | None, typer.Option(help="auto, wordnet or plain: what a word is")] = None,
    min_count: Annotated[int | None, typer.Option(help="captions a word must be in; default: 500")] = None,
    top: Annotated[int | None, typer.Option(help="keep the most frequent words only")] = None,
    workers: Workers = usable_cpus(),
) -> None:
    """Count in how many captions each label stands; for words without --vocabulary, make their vocabulary."""
    from scaling.data import count_command

    request = count_command.CountRequest(
        folder=folder,
        labels=labels,
        output=output,
        vocabulary=vocabulary,
        context_length=context_length,
        remove_stop_words=remove_stop_words,
        reference_compat=reference_compat,
        words=words,
        min_count=min_count,
        top=top,
    )
    count_command.count(request, workers=workers, console=Console())
