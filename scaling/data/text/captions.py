"""Cleaning captions before tokenization, and the interface of tokenizers."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import ftfy


def clean_caption(caption: str) -> str:
    """The caption as CLIP reads it: mojibake repaired, HTML unescaped twice, single spaces, lower case.

    Every tokenizer gets captions in this form, also Llama's, which knows upper case: two runs with different
    tokenizers then differ in nothing else (for tables 4 and 5 of arXiv 2411.03313, whose own cleaning is not known).
    """
    is_plain = caption.isascii() and caption.isprintable() and "&" not in caption
    if not is_plain:  # of a plain caption ftfy and unescape change nothing, and they take most of the time
        caption = html.unescape(html.unescape(ftfy.fix_text(caption)))
    return " ".join(caption.split()).lower()


class CaptionTokenizer(Protocol):
    """Turns captions into ids; cheap to send to another process."""

    name: str
    vocabulary_size: int  # every id is below it
    reads_whole_captions: bool  # False: only the tokens that fit the context length become labels

    def encode(self, captions: Sequence[str]) -> list[list[int]]:
        """The ids of each caption in order, without start, end or padding, and without a limit of length."""
        return self.encode_cleaned([clean_caption(caption) for caption in captions])

    def encode_cleaned(self, captions: Sequence[str]) -> list[list[int]]:
        """The same for captions that `clean_caption` returned."""
        ...


@runtime_checkable
class RowTokenizer(CaptionTokenizer, Protocol):
    """A tokenizer that text towers can read: it has a start, an end (the highest id) and a padding."""

    pad_id: int
    start_id: int
    end_id: int
