"""Words that say nothing about an image, to be left out of the labels if a sweep asks for it.

Table 7 of arXiv 2411.03313 removes "stopwords" without saying which.  This is the English list of the Snowball
project (M. F. Porter; https://snowballstem.org/algorithms/english/stop.txt @ 8ee5cf9, 174 words, BSD 3-clause),
the one that NLTK's list of 179 words grew out of.
"""

from __future__ import annotations

import re

STOP_WORDS = frozenset("""
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers
    herself it its itself they them their theirs themselves what which who whom this that these those
    am is are was were be been being have has had having do does did doing would should could ought
    i'm you're he's she's it's we're they're i've you've we've they've i'd you'd he'd she'd we'd they'd
    i'll you'll he'll she'll we'll they'll isn't aren't wasn't weren't hasn't haven't hadn't doesn't don't
    didn't won't wouldn't shan't shouldn't can't cannot couldn't mustn't let's that's who's what's here's
    there's when's where's why's how's
    a an the and but if or because as until while of at by for with about against between into through
    during before after above below to from up down in out on off over under again further then once here
    there when where why how all any both each few more most other some such no nor not only own same so
    than too very
    """.split())

# A word with its apostrophes and hyphens: "isn't" is a stop word, "on-the-go" and "t-shirt" hold none.
_WORD = re.compile(r"\w+(?:['-]\w+)*")


def without_stop_words(caption: str) -> str:
    """The cleaned caption without its stop words; punctuation stays."""
    kept = _WORD.sub(lambda match: "" if match[0] in STOP_WORDS else match[0], caption)
    return " ".join(kept.split())
