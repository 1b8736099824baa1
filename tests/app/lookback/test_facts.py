from app.lookback.facts import facts_of, pair_up
from app.operations.live import LiveEdit


def edit(id: str, seq: int) -> LiveEdit:
    return LiveEdit(edit_id=id, seq=seq, artefact="", artefact_index=0)


A, B, C, D = (edit(id, seq) for seq, id in enumerate("abcd"))


def test_edits_of_one_fact_are_a_pair_and_the_others_are_not() -> None:
    found = pair_up([B, A], [D, C], {"a": "rome", "b": "paris", "c": "rome", "d": "oslo"})
    assert (found.added, found.removed, found.superseded) == ([D], [B], [(A, C)])


def test_looking_back_is_looking_forward_with_the_sides_changed() -> None:
    facts = {"a": "rome", "b": "paris", "c": "rome", "d": "oslo"}
    there, back = pair_up([B, A], [D, C], facts), pair_up([D, C], [B, A], facts)
    assert (back.added, back.removed) == (there.removed, there.added)
    assert [(after, before) for before, after in back.superseded] == list(there.superseded)


def test_two_edits_of_one_fact_find_one_partner() -> None:
    found = pair_up([B, A], [C], dict.fromkeys("abc", "rome"))
    assert (found.superseded, found.removed, found.added) == ([(B, C)], [A], [])


def test_a_fact_is_known_by_what_superseded_what_once_its_words_are_gone() -> None:
    facts = facts_of({"a": "a", "b": "a", "c": "c"}, {})
    assert facts["a"] == facts["b"] != facts["c"]


def test_a_fact_that_was_undone_and_made_again_is_known_by_its_words() -> None:
    facts = facts_of({"a": "a", "b": "b", "c": "b"}, {"a": "digest", "b": "digest"})
    assert facts["a"] == facts["b"] == facts["c"] == "digest"
