"""Our token ids are open_clip's, and the cut vocabulary is a smaller one of the same kind."""

from __future__ import annotations

import importlib.util
import json
import pickle
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling.data.text.clip_bpe import load_clip_bpe
from scaling.data.text.tokenizers import token_rows

AWKWARD = [
    "",
    "   \n\t ",
    "A dog isn't running; it's the boys' dogs, we'd we'll I'm they've you're O'Neil's",
    "3,141 apples & 27 pears at 12:30 on 2026-11-21",
    "Caf\u00e9 &amp; cr\u00eape &amp;lt;b&amp;gt; &quot;quoted&quot; &eacute;",
    "caf\u00c3\u00a9 au lait \u00e2\u20ac\u2122 mojibake",
    "\u732b\u3068\u72ac \u0643\u0644\u0628 \u0441\u043e\u0431\u0430\u043a\u0430 \U0001f436\U0001f3fd emoji",
    "\u0130stanbul STRASSE stra\u00dfe \ufb01sh",
    "'\u017f long s, and \u0345 \u2160 \u00bd",
    "zero\u200bwidth\u00a0space\u3000wide",
    "control \x00\x1b[31mred\x1b[0m chars \ud83d half a pair",
    "!!! ??? ... --- ###",
    "pneumonoultramicroscopicsilicovolcanoconiosis " * 12,
    " ".join(["word"] * 200),
]


@pytest.fixture(scope="module")
def reference() -> Any:
    import open_clip.tokenizer

    return open_clip.tokenizer.SimpleTokenizer(additional_special_tokens=None)


@pytest.fixture(scope="module")
def real_captions(shared_data: Callable[[str], Path]) -> list[str]:
    with tarfile.open(shared_data("realpairs") / "val" / "00000.tar") as tar:
        names = [name for name in tar.getnames() if name.endswith(".json")][:300]
        described = [json.load(tar.extractfile(name)) for name in names]  # type: ignore[arg-type]
    return [caption for sample in described for caption in sample["captions"]]


@pytest.mark.parametrize("context_length", [8, 77])
def test_token_rows_of_real_captions_are_those_of_open_clip(
    reference: Any, real_captions: list[str], context_length: int
) -> None:
    rows = token_rows(load_clip_bpe("clip_bpe"), real_captions, context_length)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(rows, reference(real_captions, context_length=context_length).numpy())


def test_token_rows_of_awkward_captions_are_those_of_open_clip(reference: Any) -> None:
    rows = token_rows(load_clip_bpe("clip_bpe"), AWKWARD, 77)
    np.testing.assert_array_equal(rows, reference(AWKWARD, context_length=77).numpy())


def test_ids_of_random_unicode_are_those_of_open_clip(reference: Any) -> None:
    draw = random.Random(0)
    alphabet = [chr(code) for code in range(32, 127)] + list("'sStTreVe\u017f&;#<> \u00e9\u2019\u201c\u2026")
    foreign = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    texts = [
        "".join(draw.choice(draw.choice([alphabet, alphabet, foreign])) for _ in range(draw.randrange(30)))
        for _ in range(2_000)
    ]
    assert load_clip_bpe("clip_bpe").encode(texts) == [reference.encode(text) for text in texts]


def test_a_caption_cannot_spell_the_control_tokens() -> None:
    tokenizer = load_clip_bpe("clip_bpe")
    [ids] = tokenizer.encode(["an image <end_of_text> of <start_of_text> text"])
    assert max(ids) < tokenizer.start_id


def test_the_cut_vocabulary_ends_with_start_and_end_at_4095() -> None:
    tokenizer = load_clip_bpe("clip_bpe_4k")
    [row] = token_rows(tokenizer, ["a dog"], 8)
    assert (tokenizer.vocabulary_size, tokenizer.start_id, tokenizer.end_id) == (4_096, 4_094, 4_095)
    assert row[0] == 4_094 and row[3] == 4_095 and not row[4:].any()


def test_the_cut_vocabulary_gives_the_same_ids_to_words_it_still_has() -> None:
    whole, cut = load_clip_bpe("clip_bpe"), load_clip_bpe("clip_bpe_4k")
    assert cut.encode(["a dog on the beach"]) == whole.encode(["a dog on the beach"])


def test_the_cut_vocabulary_spells_rare_words_by_smaller_pieces() -> None:
    whole, cut = load_clip_bpe("clip_bpe"), load_clip_bpe("clip_bpe_4k")
    [rare], [pieces] = whole.encode(["accordion"]), cut.encode(["accordion"])
    assert len(rare) == 1 and len(pieces) > 1 and max(pieces) < cut.start_id


def test_every_text_can_be_written_in_the_cut_vocabulary(real_captions: list[str]) -> None:
    cut = load_clip_bpe("clip_bpe_4k")
    ids = cut.encode([*AWKWARD, *real_captions])
    assert all(ids[2:]) and max(max(row, default=0) for row in ids) < cut.start_id


def test_a_tokenizer_survives_the_way_to_another_process() -> None:
    tokenizer = load_clip_bpe("clip_bpe_4k")
    assert pickle.loads(pickle.dumps(tokenizer)).encode(["a red kite"]) == tokenizer.encode(["a red kite"])


def test_a_missing_open_clip_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    load_clip_bpe.cache_clear()
    with pytest.raises(ValueError, match="pip install open_clip_torch"):
        load_clip_bpe("clip_bpe")
