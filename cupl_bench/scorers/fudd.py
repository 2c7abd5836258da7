"""FuDD: the likeliest classes are compared again, by texts that tell each two of them apart."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from cupl_bench.dataset.names import is_unicode
from cupl_bench.errors import ScorerError, first
from cupl_bench.scorers import Inputs, Needs, ScoresAre
from cupl_bench.scorers.texts import TEXTS_AT_ONCE, files_of, joined_keys
from cupl_bench.scores import image_tiles, similarity_to

__all__ = ["FuddScorer"]

COLUMNS = 8_000
"""As which an image counts at least when tiles are cut: the texts of its pairs are of many rows."""
WHAT = (
    'the authors\' form, such as {"0_1": {"classes": [0, 1], "prompt_pairs": [{"attr_type": "colour", "prompt_pair":'
    ' ["a text of class 0", "a text of class 1"]}, ...]}, ...}'
)


@dataclass(frozen=True, kw_only=True)
class FuddScorer:
    """Take the ``k`` likeliest classes of an image, and compare them by texts that tell each two of them apart.

    The likeliest are those of the prompts of the run; prompts=simple is the authors' way. A class among them is then
    the unit mean of the unit features of all its texts in the pairs with the others, each text once; its score is the
    cosine similarity, and all other classes are out. A pair that the file lacks gives each of its two classes the text
    "a photo of a {name}." All texts are capitalised as the authors' are: the first letter large, all others small.
    Classes as likely as the last of the ``k`` are compared too, so that no order decides. ``confidence`` and top-5 are
    among the compared classes alone.

    ``pairs``: a JSON file, path or URL, in the form of the authors' `SET_prompt_pairs.json`: any keys, and in each
    entry ``classes``, the two classes, and ``prompt_pairs``, a list of ``prompt_pair``, a text of each of the two in
    the same order. ``names``: a JSON file of class names that the numbers in ``classes`` count, the authors'
    `SET_class_names.json`; null where ``classes`` has the names themselves. They are joined to the class names of the
    data set, never by position. ``aliases``: a JSON file: class name -> name in the file.

    All pairs of ImageNet are 3.5 million texts: a file of that size is held in memory, several GB, and the texts of a
    few hundred images are encoded at a time.

    Source: "Follow-Up Differential Descriptions: Language Models Resolve Ambiguities for Image Classification"
    (Esfandiarpoor and Bach, arXiv 2311.07593); `fudd_model.py` and `prompt_factory.py` of BatsResearch/fudd@3226423.
    """

    pairs: str
    names: str | None = None
    aliases: str | None = None
    k: int = 10

    constants_from: ClassVar[str] = "BatsResearch/fudd@3226423"
    scores_are: ClassVar[ScoresAre] = "similarities"

    def __post_init__(self) -> None:
        if self.k < 2:
            raise ValueError(f"k={self.k} should be 2 or more: pairs of classes are compared")

    @property
    def needs(self) -> Needs:
        """Texts of pairs of classes."""
        return Needs(
            uses=("second_texts",),
            files=files_of(pairs=self.pairs, names=self.names, aliases=self.aliases),
            check=_Pairs.of,
        )

    def __call__(self, inputs: Inputs) -> Iterator[torch.Tensor]:
        pairs = _Pairs.of(inputs.class_names, inputs.files)
        is_few = len(pairs.texts) <= TEXTS_AT_ONCE
        of_all = torch.from_numpy(inputs.encode(pairs.texts)).to(inputs.device) if is_few else None
        to_classes = similarity_to(inputs.classes, inputs.device)
        for tile in image_tiles(inputs.images, max(COLUMNS, inputs.classes.num_columns), inputs.device):
            likely = to_classes(tile)
            last = likely.topk(min(self.k, likely.shape[1]), dim=1).values[:, -1:]
            images, labels = (likely >= last).nonzero(as_tuple=True)
            rows, starts, bag_of = _bags(pairs, images.tolist(), labels.tolist())
            features = of_all
            if features is None:
                distinct, rows = np.unique(rows, return_inverse=True)
                some = inputs.encode([pairs.texts[row] for row in distinct.tolist()])
                features = torch.from_numpy(some).to(inputs.device)
            places, begins = (torch.as_tensor(one, device=inputs.device) for one in (rows.reshape(-1), starts))
            sums = torch.nn.functional.embedding_bag(places, features, begins, mode="sum")
            scores = torch.full_like(likely, -torch.inf)
            units = torch.nn.functional.normalize(sums, dim=1)[torch.tensor(bag_of, device=inputs.device)]
            scores[images, labels] = (tile[images] * units).sum(dim=1)
            yield scores


@dataclass(frozen=True)
class _Pairs:
    """The texts of pairs of classes.

    ``texts``: capitalised. ``of_pair``: (number, number) -> the places of the texts of each of the two. ``numbers``: of
    each class, as the file counts. ``of_name``: for each class the place of the text that stands in for a pair.
    """

    texts: Sequence[str]
    of_pair: Mapping[tuple[int, int], tuple[tuple[int, ...], tuple[int, ...]]]
    numbers: Sequence[int]
    of_name: Sequence[int]

    @classmethod
    def of(cls, class_names: Sequence[str], files: Mapping[str, object]) -> "_Pairs":
        """Read the files of the scorer.

        Raises:
            ScorerError: one is of another form, or lacks a class.
        """
        content = files["pairs"]
        if not isinstance(content, dict) or not content:
            raise ScorerError(f"scorer.pairs names a file of another form: it should hold pairs of classes in {WHAT}.")
        number = _number_of(files, content)
        place: dict[str, int] = {}
        of_pair: dict[tuple[int, int], tuple[tuple[int, ...], tuple[int, ...]]] = {}
        wrong = []
        for key, entry in content.items():
            found = _read(entry, number)
            if found is None or (found[0] in of_pair):
                wrong.append(key)
                continue
            pair, texts = found
            of_pair[pair] = (
                tuple(sorted({place.setdefault(one, len(place)) for one, _ in texts})),
                tuple(sorted({place.setdefault(other, len(place)) for _, other in texts})),
            )
        if wrong:
            raise ScorerError(
                f"scorer.pairs: {len(wrong):,} of {len(content):,} entries of the file are of another form, name a"
                f" class that is none, or a pair that stood before, first: {first(wrong, 3)}. It should hold pairs of"
                f" classes in {WHAT}."
            )
        where = f"the file of scorer.{'names' if 'names' in files else 'pairs'}"
        keys = joined_keys(class_names, [name for name in number if isinstance(name, str)], files, where)
        stand_in = [f"a photo of a {name.replace('_', ' ')}." for name in class_names]
        return cls(
            of_name=[place.setdefault(text, len(place)) for text in stand_in],
            texts=[text.capitalize() for text in place],
            of_pair=of_pair,
            numbers=[number[key] for key in keys],
        )

    def places(self, one: int, other: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the places of the texts of two classes that tell them apart."""
        a, b = self.numbers[one], self.numbers[other]
        found = self.of_pair.get((min(a, b), max(a, b)))
        if found is None:
            return (self.of_name[one],), (self.of_name[other],)
        return found if a < b else found[::-1]


def _number_of(files: Mapping[str, object], content: Mapping[str, object]) -> dict[object, int]:
    """Return the number of each class of the file, by what ``classes`` calls it, and by its name."""
    if "names" not in files:
        classes = [entry.get("classes") for entry in content.values() if isinstance(entry, dict)]
        called = [one for row in classes if isinstance(row, list) for one in row]
        if any(isinstance(one, int) for one in called):
            raise ScorerError(
                "scorer.pairs: the file calls classes by numbers, and nothing says what they count. Give the list of"
                " names: scorer.names=FILE.json; the authors' SET_class_names.json lies beside their pairs."
            )
        return {name: place for place, name in enumerate(dict.fromkeys(one for one in called if isinstance(one, str)))}
    names = files["names"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ScorerError("scorer.names names a file of another form: it should hold a list of class names.")
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ScorerError(f"scorer.names: {len(repeated)} names stand twice, first: {first(repeated, 3)}.")
    return {**{name: place for place, name in enumerate(names)}, **{place: place for place in range(len(names))}}


def _read(entry: object, number: Mapping[object, int]) -> tuple[tuple[int, int], list[tuple[str, str]]] | None:
    """Return the numbers of two classes, the lower first, and their texts in that order; None for another form."""
    if not isinstance(entry, dict):
        return None
    classes, told = entry.get("classes"), entry.get("prompt_pairs")
    if not (isinstance(classes, list) and len(classes) == 2 and isinstance(told, list)):
        return None
    if not all(isinstance(one, str | int) and not isinstance(one, bool) and one in number for one in classes):
        return None
    a, b = (number[one] for one in classes)
    if a == b:
        return None
    texts: list[tuple[str, str]] = []
    for one in told:
        pair = one.get("prompt_pair") if isinstance(one, dict) else None
        if not (isinstance(pair, list) and len(pair) == 2 and all(_is_text(text) for text in pair)):
            return None
        texts.append((pair[0], pair[1]) if a < b else (pair[1], pair[0]))
    return (min(a, b), max(a, b)), texts


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and is_unicode(value)


def _bags(pairs: _Pairs, images: Sequence[int], labels: Sequence[int]) -> tuple[np.ndarray, list[int], list[int]]:
    """Return the places of the texts of each class among the classes that it is compared with: a bag of them.

    Bags follow one another; where each begins, and the number of the bag of each entry of ``labels``. Images that
    compare the same classes share bags.
    """
    rows: list[int] = []
    starts: list[int] = []
    bag_of: list[int] = []
    known: dict[tuple[int, ...], range] = {}
    compared_by_image: dict[int, list[int]] = {}
    for image, label in zip(images, labels, strict=True):
        compared_by_image.setdefault(image, []).append(label)
    for compared in map(tuple, compared_by_image.values()):
        if compared not in known:
            bags: list[set[int]] = [set() for _ in compared]
            for here, one in enumerate(compared):
                for there in range(here + 1, len(compared)):
                    of_one, of_other = pairs.places(one, compared[there])
                    bags[here].update(of_one)
                    bags[there].update(of_other)
            known[compared] = range(len(starts), len(starts) + len(bags))
            for label, bag in zip(compared, bags, strict=True):
                starts.append(len(rows))
                rows.extend(sorted(bag or {pairs.of_name[label]}))
        bag_of.extend(known[compared])
    return np.array(rows, dtype=np.int64), starts, bag_of
