"""Tables for the terminal: what a counting pass found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from scaling.inputs.vocabulary_files import CountsFile, Lengths, WordVocabulary

NUM_SHOWN = 5  # most frequent labels


def counts_table(counts: CountsFile) -> Table:
    """Captions, labels and the most frequent labels of a count."""
    ranked = sorted(range(len(counts.counts)), key=lambda index: (-counts.counts[index], index))
    used = sum(count > 0 for count in counts.counts)
    return _table(
        f"labels of {counts.tokenizer}",
        [
            *_captions(counts),
            ("labels that occur", f"{used:,} of {len(counts.counts):,}"),
            ("labels per caption", f"{sum(counts.counts) / _num_captions(counts):.2f}"),
            ("most frequent", _shares(counts, [(str(i), counts.counts[i]) for i in ranked[:NUM_SHOWN]])),
        ],
    )


def vocabulary_table(vocabulary: WordVocabulary) -> Table:
    """Size and coverage of a word vocabulary."""
    coverage = vocabulary.coverage
    known = {"wordnet": f"nouns of WordNet {vocabulary.wordnet_version}", "plain": "plain words"}
    sizes = ", ".join(f"{size:,} at {least:,}" for least, size in coverage.sizes.items())
    ranked = list(zip(vocabulary.words, vocabulary.counts))[:NUM_SHOWN]
    return _table(
        f"word vocabulary: {known[vocabulary.analysis]}",
        [
            ("labels", f"{len(vocabulary.words):,} (in at least {vocabulary.min_count:,} captions)"),
            ("sizes by least count", sizes),
            *_captions(vocabulary),
            ("labels per caption", f"{coverage.mean_labels_per_caption:.2f}"),
            ("words out of vocabulary", f"{coverage.out_of_vocabulary_rate:.2%}"),
            ("without labels", f"{coverage.zero_label_rate:.2%}; {vocabulary.zero_label_policy}"),
            ("most frequent", _shares(vocabulary, ranked)),
        ],
    )


def _captions(counted: CountsFile | WordVocabulary) -> list[tuple[str, str]]:
    rows = [("captions", f"{_num_captions(counted):,}, {counted.num_empty:,} of them without labels")]
    if (found := counted.captions) is None:
        return rows
    rows.append(("words per caption", _lengths(found.words)))
    if found.tokens is not None:
        rows.append(("tokens per caption", _lengths(found.tokens)))
    rows.append(("captions that repeat another", f"{found.duplicate_share:.2%}"))
    return rows


def _lengths(lengths: Lengths) -> str:
    middle, most = lengths.quantiles[0.5], lengths.quantiles[0.99]
    return f"{lengths.mean:.1f}; half at most {middle:,}, 99 % at most {most:,}, longest {lengths.longest:,}"


def _num_captions(counted: CountsFile | WordVocabulary) -> int:
    return counted.num_samples + counted.num_empty


def _shares(counted: CountsFile | WordVocabulary, ranked: Sequence[tuple[str, int]]) -> str:
    """Each label with the share of the labelled captions that it stands in."""
    return ", ".join(f"{label} {count / max(1, counted.num_samples):.1%}" for label, count in ranked)


def _table(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(title=title, show_header=False)
    for row in rows:
        table.add_row(*row)
    return table
