"""The options of a conversion; by default samples are copied unchanged and in order."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, model_validator

DEFAULT_QUALITY = 95  # of a picture that is made smaller: img2dataset's default


class ConversionSettings(BaseModel):
    """The options that decide the content of the shards; parts made with others are not continued."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: int | None = None  # a picture's shorter side is at most so many pixels; None: bytes untouched
    quality: int | None = None  # JPEG quality of the pictures made smaller
    min_side: int | None = None  # pictures with a shorter side of fewer pixels are left out
    hashes: tuple[str, ...] = ("xxh64",)  # of every shard, in alphabetical order
    compression: str | None = None  # of the training shards, such as zstd or zstd:7
    shuffle_seed: int | None = None  # None: the order of the source

    @model_validator(mode="after")
    def _fits_together(self) -> ConversionSettings:
        for name, value in {"resize": self.resize, "min_side": self.min_side}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} ({value}) must be at least 1 pixel.")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ValueError(f"quality ({self.quality}) must be from 1 to 100, as in JPEG.")
        if self.quality is not None and self.resize is None:
            raise ValueError(
                f"quality ({self.quality}) has no effect without resize: images are copied byte by byte. "
                "Give resize too, or leave quality out."
            )
        if self.shuffle_seed is not None and self.shuffle_seed < 0:
            raise ValueError(f"shuffle_seed ({self.shuffle_seed}) must be 0 or more.")
        if "xxh64" not in self.hashes or list(self.hashes) != sorted(set(self.hashes)):
            raise ValueError(
                f"hashes ({', '.join(self.hashes)}) must be distinct, in alphabetical order and hold xxh64, which "
                "every run checks before it reads a shard."
            )
        return self

    @property
    def jpeg_quality(self) -> int:
        return self.quality or DEFAULT_QUALITY

    def uncompressed(self) -> ConversionSettings:
        """The same for a set that evaluation reads, which takes uncompressed shards only."""
        return self.model_copy(update={"compression": None})


def conversion_settings(
    *,
    resize: int | None = None,
    quality: int | None = None,
    min_side: int | None = None,
    hashes: str = "xxh64",
    compression: str | None = None,
    shuffle_seed: int | None = None,
) -> ConversionSettings:
    """The settings as the command line gives them; ValueError naming what is unknown or without effect."""
    names = tuple(sorted({"xxh64", *filter(None, (name.strip() for name in hashes.split(",")))}))
    _check_known(names, compression)
    return ConversionSettings(
        resize=resize,
        quality=quality,
        min_side=min_side,
        hashes=names,
        compression=compression,
        shuffle_seed=shuffle_seed,
    )


def _check_known(hashes: tuple[str, ...], compression: str | None) -> None:
    """ValueError for names that streaming's reader does not know.  Imported only where the defaults are changed."""
    if hashes == ("xxh64",) and compression is None:
        return
    from streaming.base.compression import get_compressions  # 4 s: it brings every cloud's client
    from streaming.base.hashing import get_hashes

    unknown = sorted(set(hashes) - get_hashes())
    if unknown:
        raise ValueError(f"--hashes: unknown {unknown[0]!r}. Known: {', '.join(sorted(get_hashes()))}.")
    if compression is not None and compression not in get_compressions():
        families = sorted({name.partition(":")[0] for name in get_compressions()})
        raise ValueError(
            f"--compression: unknown {compression!r}. Known: {', '.join(families)}, with a level as in zstd:7."
        )
