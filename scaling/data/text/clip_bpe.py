"""CLIP's byte-level BPE, run by the Rust `tokenizers` library.

The ids equal open_clip's `SimpleTokenizer` (clean="lower") with one deliberate exception: a caption that
spells out "<start_of_text>" or "<end_of_text>" is read as plain text.  open_clip would put the control id in
the middle of the row, where a text tower takes it for the end of the caption.
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import regex  # type: ignore[import-untyped]
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from scaling.data.text.captions import RowTokenizer
from scaling.sweep.field_types import TOKENIZERS

NUM_BYTE_TOKENS = 512  # 256 bytes, alone and as the end of a word
NUM_SPECIAL_TOKENS = 2  # start and end of text, the two highest ids
CACHED_WORDS = 65_536  # words whose merges are remembered; the reference remembers every word it ever saw
# open_clip.tokenizer.SimpleTokenizer.pat without its special tokens, and run by the same library, because the Rust
# one's Unicode tables differ in what counts as a letter.
WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE)


class ClipTokenizer(RowTokenizer):
    """CLIP's BPE, whole (49,408 ids) or cut after its first merges."""

    pad_id = 0
    reads_whole_captions = False

    def __init__(self, name: str, vocabulary_size: int, words: Tokenizer) -> None:
        self.name = name
        self.vocabulary_size = vocabulary_size
        self.start_id = vocabulary_size - 2
        self.end_id = vocabulary_size - 1
        self._words = words

    def encode_cleaned(self, captions: Sequence[str]) -> list[list[int]]:
        words = [WORDS.findall(caption) for caption in captions]
        encodings = self._words.encode_batch_fast(words, is_pretokenized=True)
        return [encoding.ids for encoding in encodings]

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return load_clip_bpe, (self.name,)


@functools.lru_cache
def load_clip_bpe(name: str) -> ClipTokenizer:
    """The tokenizer "clip_bpe" (49,408 ids) or "clip_bpe_4k" (CLIP's first merges, 4,096 ids).

    Raises ValueError when open_clip, which ships the vocabulary, is not installed.
    """
    # Loading data already runs one process per core; threads would compete for the cores and do not survive a fork.
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
    return ClipTokenizer(name, size, words)


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
