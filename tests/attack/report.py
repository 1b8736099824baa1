"""What each attack was, what the server made of it, and what the witness saw: one table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.attack.raw import Answer, outcomes
from tests.attack.witness import Observation

_HEADINGS = (
    "attack",
    "requests",
    "MB sent",
    "answers",
    "worst /healthz",
    "peak / idle memory",
    "client: queries",
    "edits",
)


@dataclass
class Report:
    """A row an attack, in the order in which they were made."""

    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, name: str, answers: Sequence[Answer], seen: Observation) -> None:
        """Note one attack."""
        sent = sum(answer.sent for answer in answers)
        kinds = ", ".join(f"{count} × {kind}" for kind, count in sorted(outcomes(answers).items()))
        self.rows.append(
            (
                name.replace("_", " "),
                str(len(answers)),
                f"{sent / 1e6:.1f}",
                kinds,
                f"{max(seen.pulses_s):.2f} s",
                f"{seen.peak:.2f}",
                f"{len(seen.queries_s)}, slowest {max(seen.queries_s):.1f} s",
                f"{len(seen.edits_s)}, slowest {max(seen.edits_s):.1f} s",
            )
        )

    @property
    def lines(self) -> list[str]:
        """The table in Markdown."""
        table = [_HEADINGS, tuple("---" for _ in _HEADINGS), *self.rows]
        return ["| " + " | ".join(row) + " |" for row in table]

    def write(self, path: Path) -> None:
        """Store the table."""
        path.write_text("\n".join([*self.lines, ""]), encoding="utf-8")
