"""LiteLLM, as a library."""

from typing import Any

import litellm

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

server: Any = {"api_base": address(), "api_key": "-", "temperature": 0, "num_retries": 0}
chat: Any = server | {"model": f"openai/{MODEL}", "max_tokens": MAX_TOKENS}
talk = [user(FIRST)]

first = litellm.completion(messages=talk, **chat).choices[0].message
usage = {"include_usage": True}
chunks = litellm.completion(messages=talk, stream=True, stream_options=usage, **chat)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
talk += [first, user(SECOND)]
second = litellm.completion(messages=talk, **chat).choices[0].message
formed = litellm.completion(
    messages=talk, response_format=Verdict, **chat | {"max_tokens": FORM_TOKENS}
)
function = {"name": "verdict", "parameters": Verdict.model_json_schema()}
try:
    litellm.completion(messages=talk, tools=[{"type": "function", "function": function}], **chat)
    refused = None
except litellm.BadRequestError as error:
    refused = "tools" if "tools: this is not implemented" in str(error) else str(error)

tell(
    turns=[first.content, second.content],
    streamed=streamed,
    completion=litellm.text_completion(
        model=f"text-completion-openai/{MODEL}", prompt=PROMPT, max_tokens=MAX_TOKENS, **server
    )
    .choices[0]
    .text,
    form=Verdict.model_validate_json(formed.choices[0].message.content).model_dump(),
    refused=refused,
)
