"""Prunes CLIP's byte-pair vocabulary to the words of the training captions.

The full table (49,408 tokens) would be nearly all of the demo's weights. The pruned file keeps the merges
that build the captions' words, and the first of the list so that other words come in pieces rather than
letters. Words that occur in captions are split exactly as by the full tokenizer; words that do not, such as
the names of the tier "never", fall into pieces. The result is read by open_clip's
`SimpleTokenizer(bpe_path=...)`.

Source: the merges are a subset of those that open_clip ships (`bpe_simple_vocab_16e6.txt.gz`, from
openai/CLIP, MIT).
"""

import gzip
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from open_clip.tokenizer import SimpleTokenizer

FIRST_MERGES: Final = 256
"""Merges kept whether a caption uses them or not."""


def merges_used(words: Iterable[str], tokenizer: SimpleTokenizer) -> list[tuple[str, str]]:
    """The merges that build these words, in their order of priority, after the first `FIRST_MERGES`."""
    ranks: dict[tuple[str, str], int] = tokenizer.bpe_ranks
    used = set(list(ranks)[:FIRST_MERGES])
    for word in words:
        parts = [tokenizer.byte_encoder[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            pair = min(itertools.pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
            if pair not in ranks:
                break
            used.add(pair)
            parts = _merged(parts, pair)
    return sorted(used, key=lambda pair: ranks[pair])


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    at = 0
    while at < len(parts):
        if tuple(parts[at : at + 2]) == pair:
            merged.append(parts[at] + parts[at + 1])
            at += 2
        else:
            merged.append(parts[at])
            at += 1
    return merged


def write_bpe(texts: Iterable[str], path: Path) -> SimpleTokenizer:
    """Writes the pruned merges for these texts and returns the tokenizer that reads them.

    Raises:
        RuntimeError: The pruned tokenizer splits one of the texts differently from the full one.
    """
    texts = list(texts)
    full = SimpleTokenizer()
    words = {word for text in texts for word in full.pat.findall(full.clean_fn(text))}
    merges = merges_used(sorted(words), full)
    # No newline at the end: the reader would take an empty last line for a merge.
    lines = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)])
    # The file name and time are left out of the gzip header, so that equal merges give equal bytes.
    path.write_bytes(gzip.compress(lines.encode(), mtime=0))
    pruned = SimpleTokenizer(bpe_path=str(path))
    for word in sorted(words):
        pieces = [[one.decoder[token] for token in one.encode(word)] for one in (full, pruned)]
        if pieces[0] != pieces[1]:
            raise RuntimeError(f"the pruned tokenizer splits {word!r} into {pieces[1]}, the full one into {pieces[0]}")
    return pruned
