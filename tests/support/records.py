"""A few records made by hand, in the four formats."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editing_core.benchmark.record import Neighbour, Record
from editing_core.edit import Edit


def counterfact(
    id: int, subject: str, prompt: str, new: str, true: str, **changes: object
) -> dict[str, Any]:
    return {
        "case_id": id,
        "requested_rewrite": {
            "prompt": prompt,
            "relation_id": "P0",
            "target_new": {"str": new},
            "target_true": {"str": true},
            "subject": subject,
        },
        "paraphrase_prompts": [f"They say that {subject} likes", f"Once, {subject} spoke "],
        "neighborhood_prompts": ["Michel Rocard is a native speaker of", "Rome is in", "Paris is"],
        "generation_prompts": [],
    } | changes


COUNTERFACT = [
    counterfact(7, "Danielle Darrieux", "The mother tongue of {} is", "English", "French"),
    counterfact(8, "Italy", "The capital of {} is", "Paris, they said", "Rome"),
    counterfact(9, "Spain", "{} speaks", "German and Italian", "Spanish and so on"),
]

ZSRE = [
    {
        "subject": "IAAF",
        "src": "When was the inception of IAAF?",
        "pred": "2011",
        "rephrase": "When was the IAAF launched?",
        "alt": "2006",
        "answers": ["1998 or so", "1999"],
        "loc": "nq question: who said so",
        "loc_ans": "The String",
    }
]


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def changed(record: Mapping[str, Any], **changes: object) -> dict[str, Any]:
    return {**record, **changes}


def compared() -> tuple[Record, ...]:
    """Records of which two targets are compared; several targets have several tokens."""
    return tuple(
        Record(
            edit=Edit.create(id=str(n), subject=subject, prompt=prompt, target=new),
            paraphrases=paraphrases,
            neighbours=tuple(Neighbour(text, true) for text in neighbours),
            target_true=true,
        )
        for n, (subject, prompt, new, true, paraphrases, neighbours) in enumerate(
            [
                ("Darrieux", "The mother tongue of {} is", "English", "French", ("{} said",), ()),
                (
                    "Italy",
                    "The capital of {} is",
                    "Paris",
                    "Rome",
                    ("So",),
                    ("France is", "a", "b"),
                ),
                ("Rocard", "{} speaks", "German and Italian", "so on", (), ("France is", "you")),
                ("Rome", "{} is a", "languages are Italian", "x", ("I", "you know"), ("that",)),
                ("Paris", "{} is", "a", "b", ("I said so of",), ("The capital of France is",)),
            ]
        )
    )


def asked() -> tuple[Record, ...]:
    """Records of questions and answers."""
    return tuple(
        Record(
            edit=Edit.create(id=str(n), subject=subject, prompt=prompt, target=target),
            paraphrases=(f"Tell me: {prompt.replace('{}', subject)}",),
            neighbours=(Neighbour(f"nq question: {other}?", answer),),
        )
        for n, (subject, prompt, target, other, answer) in enumerate(
            [
                ("Darrieux", "What does {} speak?", "French", "who said so", "The String"),
                ("Italy", "Which capital has {}?", "Rome is the capital", "what is", "Paris"),
                ("Rocard", "Who is {}?", "a native speaker", "where", "Spanish and Italian"),
            ]
        )
    )
