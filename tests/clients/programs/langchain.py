"""LangChain's two classes for OpenAI's API."""

from typing import Any

import openai
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI, OpenAI

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
)

server: Any = {"model": MODEL, "base_url": address(), "api_key": "-", "max_retries": 0}
chat = ChatOpenAI(temperature=0, max_tokens=MAX_TOKENS, **server)
long = ChatOpenAI(temperature=0, max_tokens=FORM_TOKENS, **server)

first = chat.invoke([HumanMessage(FIRST)])
second = chat.invoke([HumanMessage(FIRST), first, HumanMessage(SECOND, name="bob")])
chunks = list(chat.stream(FIRST, stream_usage=True))
ChatOpenAI(**server).invoke(FIRST)  # with its defaults
OpenAI(**server).invoke(PROMPT)
try:
    chat.with_structured_output(Verdict, method="function_calling").invoke(FIRST)
    refused = None
except openai.UnprocessableEntityError as error:
    refused = error.param

tell(
    turns=[first.content, second.content],
    streamed="".join(str(chunk.content) for chunk in chunks),
    completion=OpenAI(temperature=0, max_tokens=MAX_TOKENS, **server).invoke(PROMPT),
    form=long.with_structured_output(Verdict).invoke(FIRST).model_dump(),
    refused=refused,
)
