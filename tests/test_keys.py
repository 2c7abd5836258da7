import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cupl_bench import keys
from cupl_bench.keys import KeyIndex, Keys

# Few different halves, so that many keys share one.
HALVES = st.sampled_from([bytes(8), b"\xff" * 8, b"\0\0\0\0\0\0\0\x01", b"abcdefgh", b"abcdefg\0"])
SOME_KEYS = st.lists(st.builds(lambda first, second: first + second, HALVES, HALVES), max_size=30)


@pytest.mark.parametrize("at_once", [1_000_000, 3])
@given(added=st.lists(SOME_KEYS, max_size=5), asked=SOME_KEYS, between=st.booleans())
def test_numbers_are_those_of_a_dictionary(
    at_once: int, added: list[list[bytes]], asked: list[bytes], between: bool
) -> None:
    number_of: dict[bytes, int] = {}
    index = KeyIndex()
    count = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "AT_ONCE", at_once)
        for some in added:
            for key in some:
                number_of.setdefault(key, count)
                count += 1
            index.add(Keys.of(some))
            if between:
                index.find(Keys.of(asked))
        assert index.find(Keys.of(asked)).tolist() == [number_of.get(key, -1) for key in asked]


def test_packed_keys_are_a_sequence_of_bytes() -> None:
    plain = [bytes([number]) * 16 for number in range(5)]
    packed = Keys.of(iter(plain))
    assert (list(packed), len(packed), packed[1], packed[-1]) == (plain, 5, plain[1], plain[-1])
    assert list(packed[1:3]) == plain[1:3]
    assert list(packed[np.array([True, False, False, False, True])]) == [plain[0], plain[4]]
    assert list(packed[np.array([3, 0])]) == [plain[3], plain[0]]
    assert Keys.of(packed) is packed
    assert list(Keys.of([])) == []
    with pytest.raises(ValueError, match="reshape"):
        Keys.of([b"too short"])


def test_a_hundred_thousand_keys_take_20_bytes_each() -> None:
    index = KeyIndex()
    index.add(Keys(np.random.default_rng(0).integers(0, 256, (100_000, 16), dtype=np.uint8)))
    index.find(Keys.of([]))
    held = [getattr(index, name).nbytes for name in ("_heads", "_tails", "_numbers")]
    assert sum(held) == 20 * 100_000
