"""Chat templates, whatever they do: rendered in a real process that may be killed."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from editing_core.conversation import ChatTemplate
from editing_core.errors import UnrenderedChat
from tests.support.tiny import tiny_tokenizer
from tests.support.waiting import wait_until

HELLO = [{"role": "user", "content": "Hello"}]
_LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"

WELL_MEANT = [
    str(tiny_tokenizer().chat_template),
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
    "{{ m['content'] | trim }}{{ eos_token }}\n    {% endfor %}\n{{ messages | tojson }}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
    "{{ ns.n }} {{ strftime_now('%Y') }} {% if tools %}x{% endif %}"
    "{% generation %}{{ messages[-1].content }}{% endgeneration %}{{ dict(a=1) }}",
]


@pytest.fixture
def tokenizer() -> Any:
    return tiny_tokenizer()


def _template(source: str) -> ChatTemplate:
    return ChatTemplate(source, {"eos_token": "<|im_end|>"})


@pytest.mark.parametrize("source", WELL_MEANT)
def test_a_template_is_rendered_as_the_library_does(tokenizer: Any, source: str) -> None:
    tokenizer.chat_template, tokenizer.bos_token = source, "<|endoftext|>"
    messages = [
        {"role": "system", "content": " be\nkind "},
        {"role": "user", "content": "Grüße \U0001f600 \ud7ff <|im_end|>"},
    ]
    expected = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    template = ChatTemplate.of(tokenizer)
    assert template is not None
    with template:
        assert template.render(messages, most_chars=1000) == expected


@pytest.fixture(scope="module")
def spare() -> Iterator[ChatTemplate]:
    with _template("{{ messages[0]['content'] }}") as template:
        yield template


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ raise_exception('roles must alternate') }}", "refuses .* roles must alternate"),
        ("{{ 1 / 0 }}", "cannot render .* ZeroDivisionError"),
        ("{{ messages + 1 }}", "cannot render .* TypeError"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "cannot render .* RecursionError"),
        ("{{ nothing.of.the.kind }}", "refuses .* undefined"),
        ("{% broken", "refuses"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "refuses"),
        (_LOOP, "more time or memory"),
        ("{{ 10 ** (10 ** 9) }}", "more time or memory"),
        ("{{ 'x' * 10 ** 10 }}", "MemoryError|more time or memory"),
        (
            "{% set ns = namespace(t='x') %}{% for i in range(99) %}"
            "{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
            "MemoryError|more time or memory",
        ),
        ("{{ 'x' * 10 ** 7 }}", "makes 10000000 characters .* at most 100 are accepted"),
        ("{{ raise_exception('x' * 10 ** 6) }}", "refuses these messages: x{300}$"),
    ],
)
def test_what_goes_wrong_in_a_template_is_told_and_harms_nobody(source: str, told: str) -> None:
    with _template(source) as template, pytest.raises(UnrenderedChat, match=told):
        template.render(HELLO, most_chars=100)


def test_after_a_loop_the_next_conversation_is_rendered() -> None:
    source = "{% if messages[0]['content'] == 'loop' %}" + _LOOP + "{% endif %}done"
    with _template(source) as template:
        with pytest.raises(UnrenderedChat):
            template.render([{"role": "user", "content": "loop"}], most_chars=100)
        assert template.render(HELLO, most_chars=100) == "done"


def test_a_process_that_was_killed_is_replaced(spare: ChatTemplate) -> None:
    assert spare.render(HELLO, most_chars=100) == "Hello"
    process: Any = spare._process
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: process.poll() is not None, 10)
    assert spare.render(HELLO, most_chars=100) == "Hello"


def test_a_long_conversation_passes_whole(spare: ChatTemplate) -> None:
    text = "é\U0001f600" * 200_000
    message = [{"role": "user", "content": text}]
    assert spare.render(message, most_chars=len(text)) == text


def test_a_closed_template_leaves_no_process() -> None:
    template = _template("{{ messages[0]['content'] }}")
    template.render(HELLO, most_chars=100)
    process: Any = template._process
    template.close()
    assert process.returncode is not None
    template.close()
    with pytest.raises(UnrenderedChat, match="no longer in use"):
        template.render(HELLO, most_chars=100)


def test_a_tokenizer_without_a_template_has_none(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    assert ChatTemplate.of(tokenizer) is None
