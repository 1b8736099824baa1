"""Logs: every call names an event in snake_case and gives the rest as fields.

What people wrote – subjects, prompts, targets – is in no record above DEBUG. So an exception is
told by its type and by where it was raised: its message may quote.
"""

import logging
import sys
import traceback
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["auto", "json", "console"]


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger over the standard library's; whoever runs the process decides where it goes."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            _as_record,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return logger


def configure(form: LogFormat, level: str, stream: TextIO | None = None) -> None:
    """Send all logs of this process to standard error, one record a line.

    Args:
        form: json, console (key=value), or auto: console on a terminal.
        level: The least that is told.
        stream: Where to instead.
    """
    out = sys.stderr if stream is None else stream
    as_json = form == "json" or (form == "auto" and not out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(_formatter(as_json))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries tell of single calls below WARNING, with whatever text went into them.
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    logging.getLogger("app").setLevel(level.upper())


def _formatter(as_json: bool) -> structlog.stdlib.ProcessorFormatter:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _fields_of_record,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _place_of_exception,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
    ]
    rendered: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"])
    )
    return structlog.stdlib.ProcessorFormatter(processors=[*shared, rendered])


def _as_record(
    _logger: WrappedLogger, _method: str, fields: EventDict
) -> tuple[tuple[str], dict[str, Any]]:
    """A record that reads well without us, and has its fields for those who want them."""
    exc_info = fields.pop("exc_info", None)
    event = str(fields.pop("event"))
    words = [event, *(f"{name}={value}" for name, value in fields.items())]
    return (" ".join(words),), {
        "exc_info": exc_info,
        "extra": {"fields": {"event": event, **fields}},
    }


def _fields_of_record(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Our own records as their fields; those of libraries keep their message as the event."""
    record: logging.LogRecord = fields["_record"]
    return {**fields, **getattr(record, "fields", {})}


def _place_of_exception(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    found = fields.pop("exc_info", None)
    if isinstance(found, tuple) and found[1] is not None:
        frames = traceback.extract_tb(found[2])
        fields["exception"] = type(found[1]).__name__
        fields["raised_at"] = [f"{frame.filename}:{frame.lineno}" for frame in frames]
    return fields
