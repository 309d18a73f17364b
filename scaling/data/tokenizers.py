"""Captions -> token ids: CLIP's byte-level BPE, run by the Rust `tokenizers` library.

The ids equal open_clip's `SimpleTokenizer` (clean="lower") with one deliberate exception: a caption that
spells out "<start_of_text>" or "<end_of_text>" is read as plain text.  open_clip would put the control id in
the middle of the row, where a text tower takes it for the end of the caption.
"""

from __future__ import annotations

import functools
import gzip
import html
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import ftfy
import numpy as np
import numpy.typing as npt
import regex  # type: ignore[import-untyped]
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from scaling.science import TOKENIZERS
from scaling.suggest import did_you_mean

# Shapes.  B captions, L tokens of a row (start and end included), N label ids of all captions together.

NUM_BYTE_TOKENS = 512  # 256 bytes, alone and as the end of a word
NUM_SPECIAL_TOKENS = 2  # start and end of text, the two highest ids
CACHED_WORDS = 65_536  # words whose merges are remembered; the reference remembers every word it ever saw
# open_clip.tokenizer.SimpleTokenizer.pat without its special tokens, and run by the same library: the Unicode
# tables of the Rust one differ in what is a letter.
WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE)


def clean_caption(caption: str) -> str:
    """The caption as CLIP reads it: mojibake repaired, HTML unescaped twice, single spaces, lower case."""
    is_plain = caption.isascii() and caption.isprintable() and "&" not in caption
    if not is_plain:  # ftfy and unescape would change nothing, and take most of the time
        caption = html.unescape(html.unescape(ftfy.fix_text(caption)))
    return " ".join(caption.split()).lower()


class CaptionTokenizer:
    """Cleaned captions to ids; cheap to send to another process."""

    pad_id = 0

    def __init__(self, name: str, vocabulary_size: int, words: Tokenizer) -> None:
        self.name = name
        self.vocabulary_size = vocabulary_size
        self.start_id = vocabulary_size - 2
        self.end_id = vocabulary_size - 1
        self._words = words

    def encode(self, captions: Sequence[str]) -> list[list[int]]:
        """The ids of every caption, without start and end, of any length."""
        words = [WORDS.findall(clean_caption(caption)) for caption in captions]
        encodings = self._words.encode_batch_fast(words, is_pretokenized=True)
        return [encoding.ids for encoding in encodings]

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return load_tokenizer, (self.name,)


@functools.lru_cache(maxsize=len(TOKENIZERS))
def load_tokenizer(name: str) -> CaptionTokenizer:
    """The tokenizer called `name`: "clip_bpe" (49,408 ids) or "clip_bpe_4k" (CLIP's first merges, 4,096 ids).

    Raises ValueError for an unknown name or when open_clip, which ships the vocabulary, is not installed.
    """
    if name not in TOKENIZERS:
        raise ValueError(f"tokenizer: unknown name {name!r}. {did_you_mean(name, TOKENIZERS)}")
    # Loading data already runs one process per core; threads in each would fight, and cannot follow a fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    size = TOKENIZERS[name]
    merges = _read_merges(_vocabulary_file())[: size - NUM_BYTE_TOKENS - NUM_SPECIAL_TOKENS]
    characters = _byte_characters()
    tokens = [
        *characters,
        *(f"{character}</w>" for character in characters),
        *("".join(merge) for merge in merges),
    ]
    ids = {token: index for index, token in enumerate(tokens)}
    assert (
        len(ids) == size - NUM_SPECIAL_TOKENS
    ), f"{name}: {len(ids)} tokens, {size - NUM_SPECIAL_TOKENS} expected"
    words = Tokenizer(BPE(vocab=ids, merges=merges, end_of_word_suffix="</w>", cache_capacity=CACHED_WORDS))
    words.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    return CaptionTokenizer(name, size, words)


def token_rows(
    tokenizer: CaptionTokenizer, captions: Sequence[str], context_length: int
) -> npt.NDArray[np.int64]:
    """int64 [B, L]: start, at most L - 2 tokens, end, then the pad id 0; equal to open_clip.tokenize."""
    _check_context_length(context_length)
    rows_BL = np.full((len(captions), context_length), tokenizer.pad_id, dtype=np.int64)
    for row_L, ids in zip(rows_BL, tokenizer.encode(captions)):
        kept = ids[: context_length - 2]
        row_L[: len(kept) + 2] = [tokenizer.start_id, *kept, tokenizer.end_id]
    return rows_BL


def label_sets(
    tokenizer: CaptionTokenizer, captions: Sequence[str], context_length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The sorted distinct ids of each caption's first L - 2 tokens: ids_N, and its offsets [B + 1].

    No start, end or pad among them: those are in every caption and say nothing about an image.
    """
    _check_context_length(context_length)
    labels = [sorted(set(ids[: context_length - 2])) for ids in tokenizer.encode(captions)]
    offsets = np.zeros(len(labels) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in labels], out=offsets[1:])
    return np.fromiter((i for ids in labels for i in ids), dtype=np.int64, count=int(offsets[-1])), offsets


def _check_context_length(context_length: int) -> None:
    if context_length < 3:
        raise ValueError(f"context_length ({context_length}) must be at least 3: start, one token, end.")


def _vocabulary_file() -> Path:
    spec = importlib.util.find_spec("open_clip")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "bpe_simple_vocab_16e6.txt.gz"
        if path.exists():
            return path
    raise ValueError(
        "CLIP's BPE vocabulary (bpe_simple_vocab_16e6.txt.gz) ships in the package open_clip, which is not "
        "installed here: pip install open_clip_torch"
    )


def _read_merges(path: Path) -> list[tuple[str, str]]:
    """CLIP's merges, best first; the file begins with a line of its own and holds more than CLIP uses."""
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    used = TOKENIZERS["clip_bpe"] - NUM_BYTE_TOKENS - NUM_SPECIAL_TOKENS
    pairs = (line.split() for line in lines[1 : used + 1])
    return [(first, second) for first, second in pairs]


def _byte_characters() -> list[str]:
    """A printable character for each byte, in the order of CLIP's ids (open_clip's bytes_to_unicode)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    num_others = 256 - len(printable)
    return [chr(code) for code in (*printable, *range(256, 256 + num_others))]
