import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupl_bench.dataset.image_names import ImageNames

ODD = [
    "",
    "a/b.jpg",
    "line\nbreak.jpg",
    "caf\u00e9.jpg",
    "cafe\u0301.jpg",
    "\U0001f438",
    "tab\t",
    "\udcff\udcfe.jpg",
    "nul\0",
]


def test_names_are_read_and_opened_as_they_were_given() -> None:
    names = ImageNames.of(iter(ODD))
    assert [names.file_name(index) for index in range(len(names))] == ODD
    assert [one for one, odd in zip(names, ODD, strict=True) if one != odd] == ["\\xff\\xfe.jpg"]
    json.dumps(list(names))
    "".join(names).encode("utf-8")
    assert names[-1] == "nul\0"
    for beyond in (len(ODD), -len(ODD) - 1):
        with pytest.raises(IndexError):
            names[beyond]
    assert list(pickle.loads(pickle.dumps(names))) == list(names)


def test_half_a_surrogate_pair_of_json_is_a_name_of_no_file() -> None:
    (name,) = ImageNames.of([chr(0xD800) + ".jpg"])
    assert name == "\\xed\\xa0\\x80.jpg"


@given(st.lists(st.text(alphabet="a\u00e9\n\U0001f438", max_size=4), max_size=12), st.data())
def test_parts_are_those_of_a_list(given_names: list[str], data: st.DataObject) -> None:
    names = ImageNames.of(given_names)
    assert list(names) == given_names
    places = st.integers(0, len(names))
    first, last = sorted((data.draw(places), data.draw(places)))
    assert list(names[first:last]) == given_names[first:last]
    assert list(names[first:last][1:]) == given_names[first:last][1:]
    taken = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=8)) if given_names else []
    assert list(names.take(np.array(taken, dtype=np.int64))) == [given_names[place] for place in taken]


def test_a_name_takes_its_text_and_eight_bytes() -> None:
    names = ImageNames.of(f"{number:08}.jpg" for number in range(1000))
    assert names.column.nbytes <= 1000 * (12 + 8) + 8
    assert len(pickle.dumps(names[:10])) < 10 * (12 + 8) + 500
