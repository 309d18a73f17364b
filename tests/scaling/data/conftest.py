"""Small data sets, tokenizer files and a WordNet of a few nouns, all made by the tests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

HEADER = "  1 This stands where the licence does: WordNet 3.0 Copyright 2006 by Princeton University.  \n"
# the lemmas of each
SYNSETS = (
    ("dog", "domestic_dog"),
    ("mouse",),
    ("church",),
    ("car", "auto", "automobile"),
    ("jersey", "t-shirt"),
    ("run",),
    ("hot_dog",),
    ("x-axis",),
    ("run", "streak"),  # the second sense of run
)


@pytest.fixture(scope="session")
def make_captions_set(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function from the captions of each sample (one or several) to an MDS folder; images are no images."""

    def make(samples: Sequence[Sequence[str]]) -> Path:
        from scaling.data.shards import IMAGE_TEXT_COLUMNS, merge_indexes, write_shards

        folder = tmp_path_factory.mktemp("captions")
        several = any(len(captions) > 1 for captions in samples)
        columns = {**IMAGE_TEXT_COLUMNS, **({"captions": "json"} if several else {})}
        rows = [
            {"jpg": b"no image", "caption": captions[0], "key": str(index), "captions": list(captions)}
            for index, captions in enumerate(samples)
        ]
        write_shards(folder / "part-00000", columns, rows, size_limit=2**20)
        merge_indexes(folder, [folder / "part-00000"])
        return folder

    return make


@pytest.fixture(scope="session")
def wordpiece_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer.json of a WordPiece of a few pieces, which adds some of them to every text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "a",
        "dog",
        "##s",
        "##gy",
        "run",
        "[",
        "]",
        "cl",
        "se",
        "##p",
        ".",
    ]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(pieces[:4])
    tokenizer.post_processor = processors.BertProcessing(("dog", 5), ("a", 4))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4, pad_id=8, pad_token="run")
    folder = tmp_path_factory.mktemp("wordpiece")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def sentencepiece_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer.json of a byte-fallback BPE, as Llama's."""
    from scaling.data.rendering.vocabularies import train_sentencepiece

    folder = tmp_path_factory.mktemp("sentencepiece")
    (folder / "tokenizer.json").write_text(train_sentencepiece(["a dog runs", "a dog and a cat"] * 3, 300))
    return folder


@pytest.fixture
def wordnet_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A WordNet of a few nouns where nltk finds it; what was read before is forgotten, and again at the end."""
    nltk = pytest.importorskip("nltk")
    from nltk.corpus.reader.api import CorpusReader
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.corpus.util import LazyCorpusLoader

    _write_wordnet(tmp_path / "corpora" / "wordnet")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    other_languages = LazyCorpusLoader("omw-1.4", CorpusReader, r".*")
    lazy = LazyCorpusLoader("wordnet", WordNetCorpusReader, other_languages)
    monkeypatch.setattr(nltk.corpus, "wordnet", lazy)
    _forget()
    yield tmp_path
    _forget()


@pytest.fixture
def no_wordnet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without nltk."""
    import builtins

    real = builtins.__import__

    def without_nltk(name: str, *arguments: object, **options: object) -> object:
        if name.partition(".")[0] == "nltk":
            raise ImportError(name)
        return real(name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_nltk)
    _forget()
    yield
    _forget()


def _forget() -> None:
    from scaling.data.text.wordnet import open_wordnet
    from scaling.data.text.words import labeller, load_words

    for function in (open_wordnet, labeller, load_words):
        function.cache_clear()


def _write_wordnet(folder: Path) -> None:
    """The files that nltk's reader opens, in the format of man wndb(5WN)."""
    folder.mkdir(parents=True)
    for kind in ("noun", "verb", "adj", "adv"):
        (folder / f"data.{kind}").write_text(HEADER)
        (folder / f"index.{kind}").write_text(HEADER)
        (folder / f"{kind}.exc").write_text("mice mouse\n" if kind == "noun" else "")
    (folder / "lexnames").write_text("".join(f"{i:02d}\tnoun.some{i}\t1\n" for i in range(6)))
    for name in ("cntlist.rev", "index.sense"):
        (folder / name).write_text("")
    data, offsets = HEADER, defaultdict(list)
    for lemmas in SYNSETS:
        for lemma in lemmas:
            offsets[lemma].append(f"{len(data):08d}")
        words = " ".join(f"{lemma} 0" for lemma in lemmas)
        data += f"{len(data):08d} 05 n {len(lemmas):02x} {words} 000 | a gloss  \n"
    (folder / "data.noun").write_text(data)
    index = (f"{noun} n {len(at)} 0 {len(at)} 0 {' '.join(at)}  \n" for noun, at in sorted(offsets.items()))
    (folder / "index.noun").write_text(HEADER + "".join(index))
