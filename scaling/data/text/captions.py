"""Captions as every tokenizer gets them, and what a tokenizer of captions is."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import ftfy


def clean_caption(caption: str) -> str:
    """The caption as CLIP reads it: mojibake repaired, HTML unescaped twice, single spaces, lower case.

    Every tokenizer gets captions in this form, the cased one of Llama too: then two runs that differ in their
    tokenizer differ in nothing else (tables 4 and 5 of arXiv 2411.03313, whose own cleaning is not known).
    """
    is_plain = caption.isascii() and caption.isprintable() and "&" not in caption
    if not is_plain:  # ftfy and unescape would change nothing, and take most of the time
        caption = html.unescape(html.unescape(ftfy.fix_text(caption)))
    return " ".join(caption.split()).lower()


class CaptionTokenizer(Protocol):
    """Captions to ids; cheap to send to another process."""

    name: str
    vocabulary_size: int  # every id is below it
    reads_whole_captions: bool  # False: only the tokens that fit the context length become labels

    def encode(self, captions: Sequence[str]) -> list[list[int]]:
        """The ids of every caption in their order, nothing but its content, of any length."""
        return self.encode_cleaned([clean_caption(caption) for caption in captions])

    def encode_cleaned(self, captions: Sequence[str]) -> list[list[int]]:
        """The ids of captions that `clean_caption` has been over."""
        ...


@runtime_checkable
class RowTokenizer(CaptionTokenizer, Protocol):
    """A tokenizer that text towers can read: it has a start, an end (the highest id) and a padding."""

    pad_id: int
    start_id: int
    end_id: int
