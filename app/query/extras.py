"""Fields of OpenAI's schema, and of servers like it, of which nothing is done here.

What changes no answer is ignored. What would change one is accepted at the values that ask for
nothing, and refused by name at any other.
"""

from typing import Annotated, Any

from app.query.body import Asked, Ignored, Only


class Extras(Asked):
    """Those of both ways of generating text."""

    user: Ignored = None
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    # Of vLLM, SGLang and others.
    priority: Ignored = None
    top_k: Annotated[Any, Only(0, -1)] = None
    min_p: Annotated[Any, Only(0)] = None
    typical_p: Annotated[Any, Only(1)] = None
    repetition_penalty: Annotated[Any, Only(1)] = None
    length_penalty: Annotated[Any, Only(1)] = None
    min_tokens: Annotated[Any, Only(0)] = None
    ignore_eos: Annotated[Any, Only(False)] = None
    use_beam_search: Annotated[Any, Only(False)] = None
    stop_token_ids: Annotated[Any, Only([])] = None
    bad_words: Annotated[Any, Only([])] = None
    allowed_token_ids: Annotated[Any, Only()] = None
    include_stop_str_in_output: Annotated[Any, Only(False)] = None
    skip_special_tokens: Annotated[Any, Only(True)] = None
    spaces_between_special_tokens: Annotated[Any, Only(True)] = None
    truncate_prompt_tokens: Annotated[Any, Only()] = None
    prompt_logprobs: Annotated[Any, Only()] = None
    return_token_ids: Annotated[Any, Only(False)] = None
    return_tokens_as_token_ids: Annotated[Any, Only(False)] = None


class CompletionExtras(Extras):
    """Those of plain continuations."""

    suffix: Annotated[Any, Only("")] = None


class ChatExtras(Extras):
    """Those of conversations."""

    parallel_tool_calls: Ignored = None
    prediction: Ignored = None
    tools: Annotated[Any, Only([])] = None
    tool_choice: Annotated[Any, Only("none", "auto")] = None
    functions: Annotated[Any, Only([])] = None
    function_call: Annotated[Any, Only("none", "auto")] = None
    modalities: Annotated[Any, Only(["text"])] = None
    audio: Annotated[Any, Only()] = None
    moderation: Annotated[Any, Only()] = None
    web_search_options: Annotated[Any, Only()] = None
    reasoning_effort: Annotated[Any, Only("none")] = None
    verbosity: Annotated[Any, Only("medium")] = None
    # Of vLLM, SGLang and others.
    include_reasoning: Ignored = None
    echo: Annotated[Any, Only(False)] = None
    add_special_tokens: Annotated[Any, Only(False)] = None
    documents: Annotated[Any, Only([])] = None
    chat_template: Annotated[Any, Only()] = None
    chat_template_kwargs: Annotated[Any, Only({})] = None
