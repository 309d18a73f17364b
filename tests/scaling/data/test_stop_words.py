from __future__ import annotations

import pytest

from scaling.data.text.stop_words import STOP_WORDS, without_stop_words


def test_the_list_is_snowballs_of_174_words() -> None:
    assert len(STOP_WORDS) == 174
    assert {"the", "isn't", "themselves", "very"} <= STOP_WORDS
    assert not {"one", "will", "us", "can", "dog"} & STOP_WORDS, "left out of that list on purpose"


@pytest.mark.parametrize(
    "caption, expected",
    [
        ("the dog on the beach", "dog beach"),
        ("a dog, and the cat.", "dog, cat."),
        ("it isn't the boys' dog's", "boys' dog's"),
        ("an on-the-go t-shirt", "on-the-go t-shirt"),
        ("'the end' (of a)", "' end' ( )"),
        ("theatre another island", "theatre another island"),
        ("of the and", ""),
        ("", ""),
    ],
)
def test_stop_words_go_and_all_else_stays(caption: str, expected: str) -> None:
    assert without_stop_words(caption) == expected
