"""The guard: equal protocols have equal hashes, others are named by the keys that differ."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferbench.errors import UserError
from ferbench.records.protocol import (
    ABSENT,
    difference,
    flat,
    group_by_protocol,
    hash_of,
    require_one_protocol,
)

PROTOCOL = {"mu": 2, "views": {"strong": [{"type": "PadCrop"}, {"type": "RandAugment", "num_ops": 3}]}}
values = st.sampled_from([None, True, 1, 1.0, 1.5, "1", [], [1], [1, 2], {}, {"a": 1}, {"a": [1]}])
protocols = st.dictionaries(st.sampled_from("abc"), values)


def other(**changes):
    return {**PROTOCOL, **changes}


class TestHash:
    def test_by_hand(self):
        text = '{"mu":2,"views":{"strong":[{"type":"PadCrop"},{"num_ops":3,"type":"RandAugment"}]}}'
        assert hash_of(PROTOCOL) == hashlib.sha256(text.encode()).hexdigest()

    def test_the_order_of_keys_and_the_way_a_number_is_written_do_not_matter(self):
        assert hash_of({"a": 1, "b": (2.0, "x")}) == hash_of({"b": [2, "x"], "a": 1.0})
        assert hash_of({"a": 0.1}) != hash_of({"a": 0.10000001})

    def test_what_json_cannot_say(self):
        with pytest.raises(ValueError, match="no plain types"):
            hash_of({"a": object()})
        assert hash_of({"a": float("inf")}) == hash_of({"a": "inf"}) != hash_of({"a": float("-inf")})

    @given(protocols, protocols)
    def test_a_difference_is_found_exactly_when_the_hashes_differ(self, a, b):
        assert bool(difference(a, b)) == (hash_of(a) != hash_of(b))


class TestDifference:
    def test_dotted_keys_with_both_values(self):
        changed = other(mu=3, views={"strong": [{"type": "PadCrop"}, {"type": "RandAugment", "num_ops": 2}]})
        found = difference(PROTOCOL, changed)
        assert found == [("mu", 2, 3), ("views.strong.1.num_ops", 3, 2)]
        assert str(found[0]) == "mu: 2 and 3"

    def test_a_key_that_one_lacks(self):
        assert difference({"a": 1}, {"a": 1, "b": {"c": None}}) == [("b.c", ABSENT, None)]

    def test_empty_containers_are_values(self):
        assert flat({"a": {}, "b": [], "c": {"d": [1, {"e": 2}]}}) == {
            "a": {},
            "b": [],
            "c.d.0": 1,
            "c.d.1.e": 2,
        }
        assert flat({}) == {}
        assert difference({"a": []}, {"a": [1]}) == [("a", [], ABSENT), ("a.0", ABSENT, 1)]


class TestGuard:
    def test_one_protocol(self, make_record):
        records = [
            make_record(label=a, seed=s, split_hash=f"{s}") for a in ("FixMatch", "DTM") for s in (0, 1)
        ]
        assert require_one_protocol(records) == hash_of(records[0].protocol)

    def test_two_protocols_are_refused_by_the_keys(self, make_record):
        records = [
            make_record(label="FixMatch", protocol=PROTOCOL),
            make_record(label="DTM", protocol=other(mu=3)),
            make_record(label="FlexMatch", protocol=other(lr=0.1)),
        ]
        with pytest.raises(UserError) as caught:
            require_one_protocol(records)
        message = str(caught.value)
        assert "3 protocols" in message
        assert "mu: 2 and 3" in message
        assert f"lr: {ABSENT} and 0.1" in message
        assert "FixMatch / DTM / FlexMatch" in message

    def test_a_long_list_of_keys_is_cut(self, make_record):
        many = {f"key{i:02d}": i for i in range(30)}
        with pytest.raises(UserError, match="and 18 more keys"):
            require_one_protocol([make_record(protocol={"a": 1}), make_record(protocol={"a": 1, **many})])

    def test_one_seed_with_two_splits(self, make_record):
        records = [
            make_record(label="A", split_hash="aa", seed=1),
            make_record(label="B", split_hash="bb", seed=1),
        ]
        with pytest.raises(UserError, match=r"seed 1 have 2 different splits(.|\n)*A: split aa; B: split bb"):
            require_one_protocol(records)

    def test_runs_that_failed_early_have_none(self, make_record, failed_record):
        assert require_one_protocol([failed_record, make_record()]) == make_record().protocol_hash
        with pytest.raises(UserError, match="no run whose protocol is known"):
            require_one_protocol([failed_record])

    def test_groups(self, make_record, failed_record):
        a, b = make_record(protocol=PROTOCOL), make_record(protocol=other(mu=3))
        groups = group_by_protocol([a, b, failed_record, a])
        assert [len(g) for g in groups.values()] == [2, 1, 1]
        assert list(groups) == [(2, hash_of(PROTOCOL)), (2, hash_of(other(mu=3))), None]

    def test_records_of_two_schemas_are_never_ranked_together(self, make_record):
        """Even where their protocols are equal to the letter."""
        old, new = make_record(schema=1, label="A"), make_record(label="B")
        assert old.protocol_hash == new.protocol_hash
        assert len(group_by_protocol([old, new])) == 2
        with pytest.raises(UserError, match="schema of the record: 1 and 2"):
            require_one_protocol([old, new])
        assert require_one_protocol([old, old]) == old.protocol_hash
