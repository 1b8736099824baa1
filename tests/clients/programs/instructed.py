"""Instructor, which reads answers into models."""

from typing import Any

import instructor
import openai

from tests.clients.programs.asked import (
    FIRST,
    FORM_TOKENS,
    MAX_TOKENS,
    MODEL,
    PROMPT,
    SECOND,
    Verdict,
    address,
    tell,
    user,
)

client = openai.OpenAI(base_url=address(), api_key="-", max_retries=0)
plain: Any = {"model": MODEL, "max_tokens": MAX_TOKENS, "temperature": 0}
talk: Any = [user(FIRST)]


def instructed(mode: instructor.Mode) -> Any:
    """The client that asks in one way."""
    return instructor.from_openai(client, mode=mode).chat.completions


by_schema = instructed(instructor.Mode.JSON_SCHEMA)
first = by_schema.create(response_model=None, messages=talk, **plain).choices[0].message
stream = by_schema.create(response_model=None, messages=talk, stream=True, **plain)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
talk += [first.model_dump(), user(SECOND)]  # it takes documents alone
second = by_schema.create(response_model=None, messages=talk, **plain).choices[0].message
long = plain | {"max_tokens": FORM_TOKENS, "max_retries": 0}
verdict = by_schema.create(response_model=Verdict, messages=talk, **long)
try:
    instructed(instructor.Mode.TOOLS).create(response_model=Verdict, messages=talk, **long)
    refused = None
except Exception as error:  # instructor's own, with OpenAI's in its text
    refused = "tools" if "tools: this is not implemented" in str(error) else str(error)

tell(
    turns=[first.content, second.content],
    streamed=streamed,
    completion=client.completions.create(prompt=PROMPT, **plain).choices[0].text,
    form=verdict.model_dump(),
    refused=refused,
)
