"""Small vocabularies of the embedded data set, so that every kind of label can be tried offline.

DST/vocabularies/words.json                            plain words of the training captions, with their counts
DST/vocabularies/bert_wordpiece/tokenizer.json         WordPiece as BERT's, trained on the training captions
DST/vocabularies/llama_sentencepiece/tokenizer.json    byte-fallback BPE as Llama's, likewise
DST/vocabularies/counts-clip_bpe_4k.json               label counts of CLIP's cut BPE, for idf: frozen
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from scaling.data.counting.count import CountSettings, count_labels
from scaling.data.counting.count_words import WordSettings, make_word_vocabulary
from scaling.data.indexed import IndexedDataset
from scaling.data.text.captions import clean_caption
from scaling.inputs.labels import TokenizerChoice
from scaling.records import write_atomically

CONTEXT_LENGTH = 24  # tokens; that of the sweeps over this data set
MIN_COUNT = 10  # captions; the grammar has about 160 words
WORDPIECE_SIZE = 192  # too few for every word, so that some are spelt by pieces
SENTENCEPIECE_SIZE = 448  # likewise; 256 of them are bytes

WORDPIECE_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SENTENCEPIECE_SPECIALS = ("<unk>", "<s>", "</s>")


def make_vocabularies(dataset: Path) -> bool:
    """Write the vocabularies that the data set lacks, made from its captions; False if it lacks none."""
    folder = dataset / "vocabularies"
    makers: dict[str, Callable[[], str]] = {
        "words.json": lambda: _words(dataset / "train"),
        "bert_wordpiece/tokenizer.json": lambda: train_wordpiece(_captions(dataset), WORDPIECE_SIZE),
        "llama_sentencepiece/tokenizer.json": lambda: train_sentencepiece(
            _captions(dataset), SENTENCEPIECE_SIZE
        ),
        "counts-clip_bpe_4k.json": lambda: _clip_counts(dataset / "train"),
    }
    missing = {folder / name: make for name, make in makers.items() if not (folder / name).exists()}
    for path, make in missing.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, make())
    return bool(missing)


def _captions(dataset: Path) -> list[str]:
    return [clean_caption(sample["caption"]) for sample in IndexedDataset(dataset / "train")]


def _words(folder: Path) -> str:
    settings = WordSettings(analysis="plain", min_count=MIN_COUNT)
    return make_word_vocabulary(folder, settings, progress=False).model_dump_json(indent=1)


def _clip_counts(folder: Path) -> str:
    settings = CountSettings(choice=TokenizerChoice(name="clip_bpe_4k"), context_length=CONTEXT_LENGTH)
    return count_labels(folder, settings, progress=False).model_dump_json()


def train_wordpiece(captions: Iterable[str], size: int) -> str:
    """The tokenizer.json of a WordPiece model of at most `size` ids, made as BERT's uncased one."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    def untrained(model: models.WordPiece) -> Tokenizer:
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return tokenizer

    captions = list(captions)
    # The trainer numbers pieces that continue a word in the order of a hash map, and breaks ties by number.
    # Numbering them here beforehand makes every training give the same vocabulary.
    letters = sorted(set("".join(captions)) - {" "})
    first = [*WORDPIECE_SPECIALS, *(f"##{letter}" for letter in letters)]
    trained = untrained(models.WordPiece(unk_token="[UNK]"))
    trained.train_from_iterator(
        captions, trainers.WordPieceTrainer(vocab_size=size, special_tokens=first, show_progress=False)
    )
    tokenizer = untrained(models.WordPiece(vocab=trained.get_vocab(), unk_token="[UNK]"))
    tokenizer.add_special_tokens(list(WORDPIECE_SPECIALS))
    return str(tokenizer.to_str(pretty=True))


def train_sentencepiece(captions: Iterable[str], size: int) -> str:
    """The tokenizer.json of a BPE model of at most `size` ids, made as Llama's: unknown letters become bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    first = [*SENTENCEPIECE_SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=first, show_progress=False)
    tokenizer.train_from_iterator(captions, trainer)
    return _without_special_bytes(str(tokenizer.to_str()))


def _without_special_bytes(text: str) -> str:
    """The same tokenizer.json with bytes as ordinary tokens; the trainer can reserve them only as special ones."""
    content = json.loads(text)
    content["added_tokens"] = [
        token for token in content["added_tokens"] if token["content"] in SENTENCEPIECE_SPECIALS
    ]
    return json.dumps(content, indent=1, ensure_ascii=False)
