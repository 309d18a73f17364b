"""BERT's WordPiece and Llama's SentencePiece: a `tokenizer.json` of the user's or from the Hugging Face cache."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from scaling.data.text.captions import CaptionTokenizer
from scaling.inputs.labels import TokenizerChoice, tokenizer_file
from scaling.inputs.tokenizer_files import TokenizerFile
from scaling.sweep.field_types import TOKENIZERS

HUB_REPOSITORIES: Mapping[str, str] = {
    "bert_wordpiece": "google-bert/bert-base-uncased",
    "llama_sentencepiece": "huggyllama/llama-7b",
}


class JsonTokenizer(CaptionTokenizer):
    """The tokenizer of a `tokenizer.json`, without the special tokens that it would add.

    A caption that spells out a special token ("</s>", "[SEP]") is read as plain text; the unknown token and
    its like say nothing about an image and are dropped.
    """

    reads_whole_captions = False

    def __init__(self, choice: TokenizerChoice, file: TokenizerFile) -> None:
        from tokenizers import Tokenizer

        self.name = choice.name
        self.vocabulary_size = file.size
        self._choice = choice
        self._special_ids = file.special_ids
        self._tokenizer = Tokenizer.from_file(str(file.path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True

    def encode_cleaned(self, captions: Sequence[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(list(captions), add_special_tokens=False)
        special = self._special_ids
        return [[index for index in encoding.ids if index not in special] for encoding in encodings]

    def __reduce__(self) -> tuple[object, tuple[TokenizerChoice]]:
        return load_hub_tokenizer, (self._choice,)


@functools.lru_cache
def load_hub_tokenizer(choice: TokenizerChoice) -> JsonTokenizer:
    """The tokenizer in the user's file, else the usual one from the local cache or the hub.

    Raises ValueError when there is neither, saying how to get one.
    """
    # Loading data already runs one process per core; threads would compete for the cores and do not survive a fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if choice.vocabulary is not None:
        return JsonTokenizer(choice, tokenizer_file(choice.name, choice.vocabulary))
    file = tokenizer_file(choice.name, _cached_or_downloaded(choice.name))
    if file.size != TOKENIZERS[choice.name]:
        raise ValueError(
            f"{choice.name}: {file.path} has {file.size:,} ids, {HUB_REPOSITORIES[choice.name]} has "
            f"{TOKENIZERS[choice.name]:,}: if this vocabulary is meant, name it with "
            f"data.vocabularies.{choice.name}={file.path}."
        )
    return JsonTokenizer(choice, file)


def _cached_or_downloaded(name: str) -> Path:
    from huggingface_hub import get_session, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository = HUB_REPOSITORIES[name]
    try:
        return Path(hf_hub_download(repository, "tokenizer.json", local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        # One question without retries: hf_hub_download alone would say only after 23 s that there is no network.
        get_session().head(hf_hub_url(repository, "tokenizer.json"), timeout=10)
        return Path(hf_hub_download(repository, "tokenizer.json"))
    except Exception as error:  # requests, httpx, OSError or the hub's own: whatever it is, there is no file
        raise ValueError(
            f"{name}: the tokenizer of {repository} is not in the local Hugging Face cache and cannot be "
            f"downloaded ({type(error).__name__}). On a machine with internet run `hf download {repository} "
            f"tokenizer.json` and copy its cache here (HF_HOME), or give a folder that holds a tokenizer.json: "
            f"data.vocabularies.{name}=FOLDER."
        ) from error
