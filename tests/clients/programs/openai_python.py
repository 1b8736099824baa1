"""OpenAI's client for Python."""

from typing import Any

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

first = client.chat.completions.create(messages=talk, **plain).choices[0].message
stream = client.chat.completions.create(messages=talk, stream=True, **plain)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
talk += [first, user(SECOND)]
second = client.chat.completions.create(messages=talk, **plain).choices[0].message
formed = client.chat.completions.parse(
    model=MODEL, messages=talk, max_tokens=FORM_TOKENS, temperature=0, response_format=Verdict
)
verdict = formed.choices[0].message.parsed
talk += [formed.choices[0].message, user(SECOND)]  # with what the client read out of it
client.chat.completions.create(messages=talk, **plain)
tool: Any = openai.pydantic_function_tool(Verdict)
try:
    client.chat.completions.create(messages=talk, tools=[tool], **plain)
    refused = None
except openai.UnprocessableEntityError as error:
    refused = error.param

tell(
    turns=[first.content, second.content],
    streamed=streamed,
    completion=client.completions.create(prompt=PROMPT, **plain).choices[0].text,
    form=None if verdict is None else verdict.model_dump(),
    refused=refused,
)
