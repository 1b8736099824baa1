"""The process that renders a chat template: what `editing_core.conversation` starts.

A template is code of the model's maker. The library's sandbox keeps it from everything but
processor and memory; those this process bounds, and may die of it.

It reads JSON, one document a line: first the template with its variables, then conversations.
"""

import json
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

_MOST_TOLD = 300  # characters of a template's complaint
_CPU_S = 2  # of one conversation: a long one takes milliseconds
_MEMORY_BYTES = 256 * 2**20  # beside what the process has when it begins


def main() -> None:
    """Answer each conversation with a line: what became of it, and the text or the reason."""
    template = json.loads(sys.stdin.readline())
    _bound_memory()
    for line in sys.stdin:
        _allow_cpu()
        print(json.dumps(_rendered(template, json.loads(line))), flush=True)  # noqa: T201


def _rendered(template: dict[str, Any], asked: dict[str, Any]) -> tuple[str, str]:
    try:
        rendered: Any = render_jinja_template(
            conversations=[asked["messages"]],
            chat_template=template["source"],
            add_generation_prompt=asked["add_generation_prompt"],
            continue_final_message=asked["continue_final_message"],
            **template["variables"],
        )
        text = str(rendered[0][0])
    except TemplateError as error:
        return "refused", str(error)[:_MOST_TOLD]
    # The outermost frame of a process that runs somebody's code: that may raise anything.
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"[:_MOST_TOLD]
    if len(text) > asked["most_chars"]:
        return "long", str(len(text))
    return "text", text


def _bound_memory() -> None:
    with suppress(OSError, ValueError):  # systems without /proc, or that know no such limit
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + _MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _allow_cpu() -> None:
    """End this process if the next conversation takes longer."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + _CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    main()
