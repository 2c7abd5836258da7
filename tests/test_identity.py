import pytest

from cupl_bench.identity import bytes_key, content_key, run_key, sequence_keys


def test_a_key_does_not_depend_on_the_order_of_facts() -> None:
    assert content_key({"a": 1, "b": [2, "ü"]}) == content_key({"b": [2, "ü"], "a": 1})


@pytest.mark.parametrize("other", [{"a": 2}, {"a": "1"}, {"a": 1.5}, {"b": 1}, {"a": [1]}, {"a": 1, "b": None}])
def test_any_other_fact_is_another_key(other: dict[str, object]) -> None:
    assert run_key({"a": 1}) != run_key(other)


def test_what_is_not_a_number_has_no_key() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        content_key({"a": float("nan")})


def test_sequences_that_begin_one_another_have_keys_of_their_own() -> None:
    keys = sequence_keys([(1,), (1, 2), (2, 1), (12,), (1, 2, 0)])
    assert len(set(keys)) == 5
    assert {len(key) for key in [*keys, bytes_key(b"")]} == {16}
