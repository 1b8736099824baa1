"""LlamaIndex's class for servers like OpenAI's."""

from typing import Any

import openai
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.llms.openai_like import OpenAILike

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

server: Any = {
    "model": MODEL,
    "api_base": address(),
    "api_key": "-",
    "max_retries": 0,
    "temperature": 0,
    "should_use_structured_outputs": True,
}
chat = OpenAILike(is_chat_model=True, max_tokens=MAX_TOKENS, **server)
long = OpenAILike(is_chat_model=True, max_tokens=FORM_TOKENS, **server)
asked = ChatMessage(role="user", content=FIRST)

first = chat.chat([asked]).message
second = chat.chat([asked, first, ChatMessage(role="user", content=SECOND)]).message
OpenAILike(**server).complete(PROMPT)  # with its defaults
tools: Any = [{"type": "function", "function": {"name": "verdict"}}]
try:
    chat.chat([asked], tools=tools)
    refused = None
except openai.UnprocessableEntityError as error:
    refused = error.param

tell(
    turns=[first.content, second.content],
    streamed="".join(part.delta or "" for part in chat.stream_chat([asked])),
    completion=OpenAILike(max_tokens=MAX_TOKENS, **server).complete(PROMPT).text,
    form=long.structured_predict(Verdict, PromptTemplate(FIRST)).model_dump(),
    refused=refused,
)
