import gzip
import json
from pathlib import Path

import pytest

from editing_core.benchmark.errors import TooFewRecords, UnreadableRecords
from editing_core.benchmark.reading import FORMATS, read_records
from editing_core.benchmark.record import Neighbour
from tests.support.records import COUNTERFACT, ZSRE, changed, counterfact, write

FLAT = {
    "case_id": 0,
    "prompt": "The mother tongue of Danielle Darrieux is",
    "target_new": "English",
    "subject": "Danielle Darrieux",
    "ground_truth": "French",
    "rephrase_prompt": "Where Danielle Darrieux is from, people speak the language of",
    "locality_prompt": "Michel Rocard is a native speaker of",
    "locality_ground_truth": "Breton",
}


def test_full_counterfact_keeps_every_prompt_and_compares_with_the_true_object(
    tmp_path: Path,
) -> None:
    reading = read_records(write(tmp_path / "cf.jsonl", COUNTERFACT), "counterfact")
    record = reading.records[0]
    assert (record.edit.id, record.edit.template) == ("7", "The mother tongue of {} is")
    assert (record.edit.target, record.target_true) == ("English", "French")
    assert record.paraphrases[1] == "Once, Danielle Darrieux spoke"
    assert record.neighbours[1] == Neighbour("Rome is in", "French")
    assert len(reading.records) == 3


def test_flat_counterfact_asks_its_neighbour_for_the_neighbours_own_answer(tmp_path: Path) -> None:
    record = read_records(write(tmp_path / "f", [FLAT]), "counterfact-flat").records[0]
    assert record.edit.template == "The mother tongue of {} is"
    assert record.target_true == "French"
    assert record.paraphrases == (FLAT["rephrase_prompt"],)
    assert record.neighbours == (Neighbour("Michel Rocard is a native speaker of", "Breton"),)


def test_zsre_is_edited_towards_the_first_true_answer_and_asks_with_a_question_mark(
    tmp_path: Path,
) -> None:
    record = read_records(write(tmp_path / "z", ZSRE), "zsre").records[0]
    assert record.edit.target == "1998 or so"
    assert record.edit.template == "When was the inception of {}?"
    assert record.neighbours == (Neighbour("nq question: who said so?", "The String"),)
    assert record.target_true is None


def test_flat_zsre_has_its_true_answer_elsewhere_and_its_question_mark_already(
    tmp_path: Path,
) -> None:
    flat = changed(ZSRE[0], loc="nq question: who said so?", case_id=4)
    record = read_records(write(tmp_path / "z", [flat]), "zsre-flat").records[0]
    assert record.edit.target == "2006"
    assert record.neighbours[0].prompt == "nq question: who said so?"


def test_gzip_and_one_array_are_read_like_lines(tmp_path: Path) -> None:
    lines = read_records(write(tmp_path / "cf.jsonl", COUNTERFACT), "counterfact")
    packed = tmp_path / "cf.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "cf.jsonl").read_bytes()))
    array = tmp_path / "cf.json"
    array.write_text(json.dumps(COUNTERFACT, indent=1))
    assert read_records(packed, "counterfact") == lines == read_records(array, "counterfact")


def test_of_records_that_edit_the_same_fact_the_first_stays(tmp_path: Path) -> None:
    again = counterfact(10, " danielle  Darrieux", "The mother tongue of {} is", "Greek", "French")
    filled = counterfact(11, "the capital", "{} of Italy is", "Pisa", "Rome")
    other = counterfact(12, "Italy", "The language of {} is", "Latin", "Italian")
    records = [*COUNTERFACT, again, filled, other]
    reading = read_records(write(tmp_path / "cf", records), "counterfact")
    assert [record.edit.id for record in reading.records] == ["7", "8", "9", "12"]
    assert (reading.conflicting, reading.unusable) == (2, 0)


def test_a_record_that_names_its_subject_nowhere_is_counted_as_unusable(tmp_path: Path) -> None:
    records = [changed(ZSRE[0], src="When was its inception?"), ZSRE[0]]
    reading = read_records(write(tmp_path / "z", records), "zsre")
    assert (len(reading.records), reading.unusable) == (1, 1)
    with pytest.raises(TooFewRecords, match="2 edits are asked for, but the data hold 1 usable"):
        reading.first(2)


def test_blank_prompts_are_not_asked(tmp_path: Path) -> None:
    record = read_records(
        write(tmp_path / "f", [changed(FLAT, rephrase_prompt=" ")]), "counterfact-flat"
    ).records[0]
    assert record.paraphrases == ()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("text", ["[1, 2]", '{"subject": 3}', "no json", '{"subject": "a"}\n{'])
def test_what_is_not_of_the_format_is_refused_by_name(tmp_path: Path, form: str, text: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(text)
    with pytest.raises(UnreadableRecords, match=r"data\.jsonl"):
        read_records(path, form)


KNOWEDIT = {
    "subject": "Danielle Darrieux",
    "prompt": "The mother tongue of Danielle Darrieux is",
    "target_new": "English",
    "ground_truth": ["French"],
    "portability": {
        "Subject_Aliasing": [{"prompt": "Darrieux natively speaks", "ground_truth": [["English"]]}],
        "Reasoning": [{"prompt": "The language of her films is", "ground_truth": [["French"]]}],
    },
    "locality": {
        "Relation_Specificity": [
            {"prompt": "Danielle Darrieux was born in", "ground_truth": [["Bordeaux", "France"]]},
            {"prompt": "Danielle Darrieux works as", "ground_truth": [[]]},
        ],
        "Forgetfulness": [{"prompt": ["Rome is in"], "ground_truth": ["Italy"]}],
    },
}


def test_knowedit_asks_aliases_for_the_target_and_neighbours_for_their_own_answers(
    tmp_path: Path,
) -> None:
    path = tmp_path / "k.json"
    path.write_text(json.dumps([KNOWEDIT]), encoding="utf-8")
    (record,) = read_records(path, "knowedit").records
    assert record.edit.template == "The mother tongue of {} is"
    assert (record.edit.target, record.target_true) == ("English", "French")
    assert record.paraphrases == ("Darrieux natively speaks",)
    assert record.neighbours == (
        Neighbour("Danielle Darrieux was born in", "Bordeaux"),
        Neighbour("Rome is in", "Italy"),
    )


def test_the_other_parts_of_knowedit_have_other_names_for_the_same(tmp_path: Path) -> None:
    biography = {
        "concept": "Rome",
        "text": "Rome is a city in",
        "labels": "Italy",
        "locality": {"Relation_Specificity": []},
    }
    (record,) = read_records(write(tmp_path / "k", [biography]), "knowedit").records
    assert (record.edit.subject, record.edit.target) == ("Rome", "Italy")
    assert (record.neighbours, record.target_true) == ((), None)


def test_fields_of_flat_counterfact_are_known_by_their_other_names(tmp_path: Path) -> None:
    names = {
        "subject": "entity",
        "rephrase_prompt": "rephrase",
        "locality_prompt": "loc",
        "locality_ground_truth": "loc_ans",
    }
    renamed = {names.get(name, name): value for name, value in FLAT.items()}
    found = read_records(write(tmp_path / "a", [renamed]), "counterfact-flat")
    assert found == read_records(write(tmp_path / "b", [FLAT]), "counterfact-flat")


def test_a_byte_order_mark_before_a_file_is_no_part_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "cf.jsonl", COUNTERFACT)
    plain = read_records(path, "counterfact")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_records(path, "counterfact") == plain


def test_unknown_formats_and_absent_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRecords, match="choose one of counterfact, counterfact-flat"):
        read_records(write(tmp_path / "z", ZSRE), "zsre2")
    with pytest.raises(UnreadableRecords, match="absent"):
        read_records(tmp_path / "absent", "zsre")
