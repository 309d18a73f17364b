"""Tokenizers of other people: their content ids, nothing special among them, from a file or the local cache."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from scaling.data.text import hub_tokenizers
from scaling.data.text.hub_tokenizers import HUB_REPOSITORIES, load_hub_tokenizer
from scaling.data.text.tokenizers import label_sets, load_tokenizer
from scaling.inputs.labels import TokenizerChoice


def _wordpiece(folder: Path) -> Any:
    return load_tokenizer(TokenizerChoice(name="bert_wordpiece", vocabulary=folder))


def _sentencepiece(folder: Path) -> Any:
    return load_tokenizer(TokenizerChoice(name="llama_sentencepiece", vocabulary=folder))


def test_wordpiece_ids_are_those_of_the_longest_pieces(wordpiece_folder: Path) -> None:
    assert _wordpiece(wordpiece_folder).encode(["A Dog", "doggy dogs run", ""]) == [
        [4, 5],
        [5, 7, 5, 6, 8],
        [],
    ]


def test_neither_truncation_nor_padding_nor_start_and_end_of_the_file_are_applied(
    wordpiece_folder: Path,
) -> None:
    assert _wordpiece(wordpiece_folder).encode(["dog " * 50, "dog"]) == [[5] * 50, [5]]


def test_unknown_words_are_dropped(wordpiece_folder: Path) -> None:
    assert _wordpiece(wordpiece_folder).encode(["a zebra dog \u732b"]) == [[4, 5]]


def test_a_caption_cannot_spell_special_tokens(wordpiece_folder: Path, sentencepiece_folder: Path) -> None:
    """Captions are lower case, but a tokenizer's special tokens may be, too."""
    text = "a [SEP] dog"
    assert _wordpiece(wordpiece_folder).encode([text]) == [[4, 9, 12, 13, 10, 5]], "[ se ##p ]"
    special = {0, 1, 2}
    [ids] = _sentencepiece(sentencepiece_folder).encode(["a </s> dog <unk>"])
    assert len(ids) > 10 and not special & set(ids)


def test_sentencepiece_spells_unknown_letters_by_bytes(sentencepiece_folder: Path) -> None:
    tokenizer = _sentencepiece(sentencepiece_folder)
    vocabulary = json.loads((sentencepiece_folder / "tokenizer.json").read_text())["model"]["vocab"]
    [ids] = tokenizer.encode(["a \u732b"])
    expected = ["\u2581a", "\u2581", *(f"<0x{byte:02X}>" for byte in "\u732b".encode())]
    assert ids == [vocabulary[piece] for piece in expected]
    assert tokenizer.encode([""]) == [[]]


def test_labels_stop_at_the_context_length(wordpiece_folder: Path) -> None:
    ids, offsets = label_sets(_wordpiece(wordpiece_folder), ["dog dog a run", "run"], 4)
    assert ids.tolist() == [5, 8] and offsets.tolist() == [0, 1, 2]


def test_a_file_and_its_folder_are_the_same_tokenizer(wordpiece_folder: Path) -> None:
    file = _wordpiece(wordpiece_folder / "tokenizer.json")
    assert file.encode(["doggy"]) == _wordpiece(wordpiece_folder).encode(["doggy"])


def test_a_tokenizer_survives_the_way_to_another_process(wordpiece_folder: Path) -> None:
    tokenizer = pickle.loads(pickle.dumps(_wordpiece(wordpiece_folder)))
    assert tokenizer.encode(["a dog"]) == [[4, 5]] and tokenizer.vocabulary_size == 15


@pytest.mark.parametrize("name, kind", [("bert_wordpiece", "BPE"), ("llama_sentencepiece", "WordPiece")])
def test_a_tokenizer_of_another_kind_is_refused(
    name: str, kind: str, wordpiece_folder: Path, sentencepiece_folder: Path
) -> None:
    other = sentencepiece_folder if name == "bert_wordpiece" else wordpiece_folder
    with pytest.raises(ValueError, match=f"data.vocabularies.{name}: .*tokenizer.json holds a {kind} model"):
        load_tokenizer(TokenizerChoice(name=name, vocabulary=other))


def _use_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The Hugging Face cache below `folder`, no network, nothing remembered."""
    import huggingface_hub
    import huggingface_hub.constants

    def download(repository: str, name: str, local_files_only: bool = False) -> str:
        return str(
            huggingface_hub.file_download.hf_hub_download(
                repository, name, local_files_only=local_files_only, cache_dir=folder
            )
        )

    def no_network() -> None:
        raise ConnectionError("no network in tests")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "get_session", no_network)
    load_hub_tokenizer.cache_clear()


def _fill_cache(folder: Path, name: str, source: Path) -> None:
    """The layout of the Hugging Face cache: refs/main names a commit, snapshots/<commit> holds its files."""
    repository = folder / f"models--{HUB_REPOSITORIES[name].replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(source, repository / "snapshots" / ("0" * 40))


def test_the_usual_vocabulary_comes_from_the_local_cache(
    tmp_path: Path, wordpiece_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use_cache(monkeypatch, tmp_path)
    _fill_cache(tmp_path, "bert_wordpiece", wordpiece_folder)
    monkeypatch.setattr(hub_tokenizers, "TOKENIZERS", {"bert_wordpiece": 15})
    assert load_tokenizer("bert_wordpiece").encode(["a dog"]) == [[4, 5]]


def test_a_cached_vocabulary_of_another_size_is_refused(
    tmp_path: Path, wordpiece_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use_cache(monkeypatch, tmp_path)
    _fill_cache(tmp_path, "bert_wordpiece", wordpiece_folder)
    with pytest.raises(
        ValueError, match="bert_wordpiece: .*has 15 ids, google-bert/bert-base-uncased has 30,522"
    ):
        load_tokenizer("bert_wordpiece")


@pytest.mark.parametrize("name", HUB_REPOSITORIES)
def test_offline_the_error_says_how_to_fill_the_cache_and_the_way_around(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use_cache(monkeypatch, tmp_path)
    told = f"{name}: .*{HUB_REPOSITORIES[name]} is not in the local.*hf download.*data.vocabularies.{name}=FOLDER"
    with pytest.raises(ValueError, match=told):
        load_tokenizer(name)
