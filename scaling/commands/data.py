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
    from scaling.data.rendering import rendered

    settings = rendered.RenderSettings(train=train, image_size=image_size, seed=seed)
    is_new = rendered.render(destination, settings, workers=workers)
    Console().print(f"{destination}: " + ("rendered" if is_new else "rendered before, nothing to do"))


@data_app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="file, folder, pattern, URL or pipe:COMMAND")],
    destination: Annotated[Path, typer.Argument(metavar="DST")],
    kind: Annotated[
        str,
        typer.Option(
            help="tars, table (csv, parquet), saved (Hugging Face), images (with caption files), classes (folders), "
            "imagenet, pets, cars, cifar10 or coco"
        ),
    ] = "auto",
    image_column: Annotated[str, typer.Option(help="of a table: image bytes or paths")] = "image",
    caption_column: Annotated[str, typer.Option(help="of a table")] = "caption",
    key_column: Annotated[str | None, typer.Option(help="of a table; default: rows are counted")] = None,
    resize: Annotated[
        int | None, typer.Option(help="shorter side at most, pixels; default: untouched")
    ] = None,
    quality: Annotated[int | None, typer.Option(help="JPEG quality of what is resized; default: 95")] = None,
    min_side: Annotated[int | None, typer.Option(help="leave out images with a shorter side below")] = None,
    hashes: Annotated[str, typer.Option(help="of every shard, by comma; xxh64 always")] = "xxh64",
    compression: Annotated[
        str | None, typer.Option(help="zstd, zstd:7, ... for training sets only: evaluation reads none")
    ] = None,
    shuffle_seed: Annotated[
        int | None,
        typer.Option(
            help="put training samples in random order; needs the space twice, 8 bytes of memory a sample"
        ),
    ] = None,
    workers: Workers = usable_cpus(),
) -> None:
    """Convert images with captions or classes into MDS shards; the same command continues a killed one."""
    from scaling.commands.tables import manifest_table
    from scaling.data.conversion.convert import convert as convert_source
    from scaling.data.conversion.rows import Columns
    from scaling.data.conversion.settings import conversion_settings

    manifest = convert_source(
        source,
        destination,
        kind=kind,
        columns=Columns(image=image_column, caption=caption_column, key=key_column),
        settings=conversion_settings(
            resize=resize,
            quality=quality,
            min_side=min_side,
            hashes=hashes,
            compression=compression,
            shuffle_seed=shuffle_seed,
        ),
        workers=workers,
    )
    Console().print(manifest_table(destination, manifest))


@data_app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    decode: Annotated[float, typer.Option(help="share of the samples to decode, 0 to 1")] = 0.01,
    examples: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="write some images with their captions")
    ] = None,
    workers: Workers = usable_cpus(),
) -> None:
    """Verify MDS folders: index, sizes, hashes, counts, a share of the images; exit code 1 if damaged."""
    from scaling.data.checking import command as check_command

    is_whole = check_command.check(
        folder, decode=decode, examples=examples, workers=workers, console=Console()
    )
    if not is_whole:
        raise typer.Exit(1)


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
    from scaling.data.counting import command as count_command

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
