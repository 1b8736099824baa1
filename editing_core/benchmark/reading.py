"""Reading evaluation sets: CounterFact, ZsRE and KnowEdit, in their own and in flattened forms."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editing_core.benchmark.errors import TooFewRecords, UnreadableRecords
from editing_core.benchmark.record import Neighbour, Record
from editing_core.edit import Edit
from editing_core.errors import InvalidEdit


@dataclass(frozen=True)
class Reading:
    """What a file held.

    Attributes:
        records: The usable records, in the order of the file.
        conflicting: How many were dropped because an earlier one edits the same fact (subject
            and prompt, or finished prompt).
        unusable: How many were dropped because they cannot be an edit, say because the prompt
            does not name its subject exactly once.
    """

    records: tuple[Record, ...]
    conflicting: int
    unusable: int

    def first(self, count: int) -> tuple[Record, ...]:
        """The first ``count`` records.

        Raises:
            TooFewRecords: There are not as many.
        """
        if count > len(self.records):
            raise TooFewRecords(
                f"{count} edits are asked for, but the data hold {len(self.records)} usable "
                f"records ({self.conflicting} conflicting and {self.unusable} unusable dropped)"
            )
        return self.records[:count]


def read_records(path: Path, form: str) -> Reading:
    """Read a file of one JSON object a line, or of one JSON array; plain or gzip.

    Args:
        path: The file; gzip if its first bytes say so.
        form: A name of ``FORMATS``.

    Raises:
        UnreadableRecords: No such file or form, or a record lacks a field of its form.
    """
    if form not in _READERS:
        raise UnreadableRecords(f"format {form!r} is unknown; choose one of {', '.join(FORMATS)}")
    read = _READERS[form]
    records: list[Record] = []
    facts: set[tuple[str, str]] = set()
    sentences: set[str] = set()
    conflicting = unusable = 0
    for number, raw in enumerate(_objects(path)):
        try:
            record = read(raw, str(raw.get("case_id", number)))
        except InvalidEdit:
            unusable += 1
            continue
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise UnreadableRecords(
                f"record {number} of {path.name} is not of format {form!r}: {error!r} is missing "
                f"or of another kind; its fields are {', '.join(map(str, raw))}"
            ) from error
        if record.fact in facts or record.sentence in sentences:
            conflicting += 1
            continue
        facts.add(record.fact)
        sentences.add(record.sentence)
        records.append(record)
    return Reading(tuple(records), conflicting, unusable)


def _counterfact(raw: Mapping[str, Any], id: str) -> Record:
    rewrite = raw["requested_rewrite"]
    true = _text(rewrite["target_true"]["str"])
    return Record(
        edit=Edit.create(
            id=id,
            subject=_text(_one_of(rewrite, *_SUBJECTS)),
            prompt=_text(rewrite["prompt"]),
            target=_text(rewrite["target_new"]["str"]),
        ),
        paraphrases=_prompts(*raw["paraphrase_prompts"]),
        neighbours=tuple(Neighbour(p, true) for p in _prompts(*raw["neighborhood_prompts"])),
        target_true=true,
    )


def _counterfact_flat(raw: Mapping[str, Any], id: str) -> Record:
    # EasyEdit has called these fields by several names.
    answer = _answer(_one_of(raw, "locality_ground_truth", "loc_ans"))
    unrelated = _one_of(raw, "locality_prompt", "loc")
    return Record(
        edit=_question(raw, id, prompt="prompt", target=_answer(raw["target_new"])),
        paraphrases=_prompts(*_several(_one_of(raw, "rephrase_prompt", "rephrase"))),
        neighbours=tuple(Neighbour(p, answer) for p in _prompts(*_several(unrelated))),
        target_true=_answer(_one_of(raw, "ground_truth", "target_true")),
    )


def _knowedit(raw: Mapping[str, Any], id: str) -> Record:
    """KnowEdit (arXiv 2401.01286), whose parts name the same things by several names."""
    prompt = _text(_one_of(raw, "prompt", "text"))
    target = _answer(_one_of(raw, "target_new", "labels"))
    subject = _text(_one_of(raw, *_SUBJECTS))
    aliases = _asked(raw.get("portability", {}), ("Subject_Aliasing",))
    reworded = _prompts(raw.get("rephrase_prompt", ""), *(text for text, _ in aliases))
    locality = raw.get("locality", {})
    truth = raw.get("ground_truth")
    return Record(
        edit=Edit.create(id=id, subject=subject, prompt=prompt, target=target),
        paraphrases=tuple(dict.fromkeys(reworded)),
        neighbours=tuple(Neighbour(text, answer) for text, answer in _asked(locality, locality)),
        target_true=_answer(truth) if truth else None,
    )


def _asked(groups: Mapping[str, Any], names: Iterable[str]) -> list[tuple[str, str]]:
    """Prompts of these groups with their first answers; those without an answer are left out."""
    items = [item for name in names for item in groups.get(name, ())]
    answered = [(item, answer) for item in items if (answer := _answer(item["ground_truth"]))]
    return [
        (prompt, answer)
        for item, answer in answered
        for prompt in _prompts(*_several(item["prompt"]))
    ]


def _several(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _answer(value: object) -> str:
    """A text, or the first of several that mean the same."""
    while isinstance(value, list):
        value = value[0] if value else ""
    return _text(value)


_SUBJECTS = ("subject", "entity", "concept")


def _one_of(raw: Mapping[str, Any], *names: str) -> object:
    """The value of the first of these fields that is there."""
    for name in names:
        if name in raw:
            return raw[name]
    raise KeyError(" or ".join(names))


def _zsre(raw: Mapping[str, Any], id: str) -> Record:
    # ROME and MEMIT edit towards the true answer; `alt` is EasyEdit's target.
    return _zsre_record(raw, id, _text(raw["answers"][0]))


def _zsre_flat(raw: Mapping[str, Any], id: str) -> Record:
    return _zsre_record(raw, id, _text(raw["alt"]))


def _zsre_record(raw: Mapping[str, Any], id: str, answer: str) -> Record:
    # The question keeps its "nq question: " as in the published protocol.
    unrelated = _text(raw["loc"]).strip().removesuffix("?") + "?"
    return Record(
        edit=_question(raw, id, prompt="src", target=answer),
        paraphrases=_prompts(raw["rephrase"]),
        neighbours=(Neighbour(unrelated, _text(raw["loc_ans"])),),
    )


def _question(raw: Mapping[str, Any], id: str, *, prompt: str, target: str) -> Edit:
    subject = _text(_one_of(raw, *_SUBJECTS))
    return Edit.create(id=id, subject=subject, prompt=_text(raw[prompt]), target=target)


def _prompts(*values: object) -> tuple[str, ...]:
    """The prompts that are not blank, without white space at their ends."""
    return tuple(prompt for value in values if (prompt := _text(value).rstrip()))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


_READERS: Mapping[str, Callable[[Mapping[str, Any], str], Record]] = {
    "counterfact": _counterfact,
    "counterfact-flat": _counterfact_flat,
    "zsre": _zsre,
    "zsre-flat": _zsre_flat,
    "knowedit": _knowedit,
}

FORMATS = tuple(_READERS)


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
        found: list[Any] = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(line) for line in text.split("\n") if line.strip()]
        )
    except (OSError, EOFError, ValueError) as error:
        raise UnreadableRecords(
            f"{path} cannot be read: {error}; give JSON objects, one a line or in one array, "
            "in UTF-8, plain or gzip"
        ) from error
    for number, raw in enumerate(found):
        if not isinstance(raw, dict):
            raise UnreadableRecords(f"record {number} of {path.name} is no JSON object")
        yield raw
