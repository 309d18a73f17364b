"""Tokenizers by name; rows of token ids for a text tower, and sets of them as labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from scaling.data.text.captions import CaptionTokenizer, RowTokenizer, clean_caption
from scaling.data.text.stop_words import without_stop_words
from scaling.inputs.labels import TokenizerChoice, check_choice

__all__ = [
    "CaptionTokenizer",
    "RowTokenizer",
    "as_row_tokenizer",
    "label_sets",
    "load_tokenizer",
    "token_rows",
]

# Shapes.  B captions, L tokens of a row (start and end included), N label ids of all captions together.


def load_tokenizer(choice: TokenizerChoice | str) -> CaptionTokenizer:
    """The tokenizer of that choice, a name meaning its usual vocabulary.

    Raises ValueError for an unknown name and for a vocabulary that is missing or of another kind.
    """
    chosen = TokenizerChoice(name=choice) if isinstance(choice, str) else choice
    check_choice(chosen)
    return _LOADERS[chosen.name](chosen)


def _load_clip_bpe(choice: TokenizerChoice) -> CaptionTokenizer:
    from scaling.data.text.clip_bpe import load_clip_bpe

    return load_clip_bpe(choice.name)


def _load_from_json(choice: TokenizerChoice) -> CaptionTokenizer:
    from scaling.data.text.hub_tokenizers import load_hub_tokenizer

    return load_hub_tokenizer(choice)


def _load_words(choice: TokenizerChoice) -> CaptionTokenizer:
    from scaling.data.text.words import load_words

    return load_words(choice)


_LOADERS: Mapping[str, Callable[[TokenizerChoice], CaptionTokenizer]] = {
    "clip_bpe": _load_clip_bpe,
    "clip_bpe_4k": _load_clip_bpe,
    "bert_wordpiece": _load_from_json,
    "llama_sentencepiece": _load_from_json,
    "words": _load_words,
}


def as_row_tokenizer(tokenizer: CaptionTokenizer) -> RowTokenizer:
    """The same tokenizer, known to suit a text tower; ValueError for one that makes labels only."""
    if not isinstance(tokenizer, RowTokenizer):
        raise ValueError(
            f"tokenizer: {tokenizer.name!r} has no start and end of text, so no text tower can read it: use "
            "tokenizer: clip_bpe with an objective that has a text tower."
        )
    return tokenizer


def token_rows(
    tokenizer: RowTokenizer, captions: Sequence[str], context_length: int
) -> npt.NDArray[np.int64]:
    """int64 [B, L]: start, at most L - 2 tokens, end, then the pad id 0; equal to open_clip.tokenize."""
    _check_context_length(context_length)
    return _rows(tokenizer, tokenizer.encode(captions), context_length)


def _rows(tokenizer: RowTokenizer, encoded: list[list[int]], context_length: int) -> npt.NDArray[np.int64]:
    rows_BL = np.full((len(encoded), context_length), tokenizer.pad_id, dtype=np.int64)
    for row_L, ids in zip(rows_BL, encoded):
        kept = ids[: context_length - 2]
        row_L[: len(kept) + 2] = [tokenizer.start_id, *kept, tokenizer.end_id]
    return rows_BL


def label_sets(
    tokenizer: CaptionTokenizer,
    captions: Sequence[str],
    context_length: int,
    *,
    remove_stop_words: bool = False,
    reference_compat: bool = False,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The sorted distinct ids of each caption's first L - 2 tokens: ids_N, and its offsets [B + 1].

    Words are labels wherever they stand in a caption: that vocabulary knows no context length.  Start, end and
    pad are in every caption and say nothing about an image, so they are no labels, except with
    `reference_compat`: then the labels are all the ids of the caption's row, as in the reference code
    (x-cls/superclass @ 90b761f, cls_model.py), where the pad id 0 is also the token "!".
    """
    _check_context_length(context_length)
    cleaned = [clean_caption(caption) for caption in captions]
    if remove_stop_words:
        cleaned = [without_stop_words(caption) for caption in cleaned]
    encoded = tokenizer.encode_cleaned(cleaned)
    if reference_compat:
        encoded = _rows(_reference_tokenizer(tokenizer), encoded, context_length).tolist()
    elif not tokenizer.reads_whole_captions:
        encoded = [ids[: context_length - 2] for ids in encoded]
    return _ragged([sorted(set(ids)) for ids in encoded])


def _ragged(labels: list[list[int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    offsets = np.zeros(len(labels) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in labels], out=offsets[1:])
    return np.fromiter((i for ids in labels for i in ids), dtype=np.int64, count=int(offsets[-1])), offsets


def _reference_tokenizer(tokenizer: CaptionTokenizer) -> RowTokenizer:
    if not isinstance(tokenizer, RowTokenizer):
        raise ValueError(
            f"reference_compat: true with tokenizer {tokenizer.name!r}: the reference code makes its labels "
            "from rows of CLIP's BPE. Use tokenizer: clip_bpe, or leave reference_compat out."
        )
    return tokenizer


def _check_context_length(context_length: int) -> None:
    if context_length < 3:
        raise ValueError(f"context_length ({context_length}) must be at least 3: start, one token, end.")
