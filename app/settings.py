"""What an operator may set: environment variables `ERRATA_*`, also read from a `.env` file."""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_POSTGRES_SCHEMES = ("postgres://", "postgresql://")

_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "errata"


def _default_cache_dir(validated: dict[str, Any]) -> Path:
    return Path(validated["data_dir"]) / "cache"


def _default_database_url(validated: dict[str, Any]) -> str:
    return f"sqlite:///{Path(validated['data_dir']) / 'errata.db'}"


def _with_driver(url: str) -> str:
    for scheme in _POSTGRES_SCHEMES:
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    if url.startswith("postgresql+psycopg://") or (
        url.startswith("sqlite:///") and not url.endswith(("///", ":memory:"))
    ):
        return url
    scheme = url.partition(":")[0]
    raise ValueError(f"{scheme!r} names no database: use sqlite:///FILE or postgresql://…")


def _redis(url: str) -> str:
    if url.startswith(_REDIS_SCHEMES):
        return url
    raise ValueError(f"{url.partition(':')[0]!r} is no Redis: use {', '.join(_REDIS_SCHEMES)}…")


DatabaseUrl = Annotated[str, AfterValidator(_with_driver)]
RedisUrl = Annotated[str, AfterValidator(_redis)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]
AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class Settings(BaseSettings):
    """Everything that may differ between two installations; built once and never changed."""

    model_config = SettingsConfigDict(
        env_prefix="ERRATA_",
        env_file=".env",
        dotenv_filtering="match_prefix",
        extra="forbid",
        frozen=True,
        validate_default=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )

    model: str = Field(default="smollm2-135m", min_length=1)
    """The model to serve: the bundled alias smollm2-135m, a folder, a GGUF file, or a hub id."""
    data_dir: AbsolutePath = Field(default_factory=_default_data_dir)
    """Where the database, the artefacts and the embedded queue live."""
    cache_dir: AbsolutePath = Field(default_factory=_default_cache_dir)
    """Where converted models and key statistics are kept; may be shared and may be deleted."""
    database_url: DatabaseUrl = Field(default_factory=_default_database_url, repr=False)
    """sqlite:///FILE (default: errata.db in the data directory) or postgresql://…"""
    redis_url: RedisUrl | None = Field(default=None, repr=False)
    """Redis or Valkey to use as the doorbell; unset starts an embedded Valkey."""
    device: str = "cpu"
    """Where the resident model lives: cpu, cuda, cuda:1."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format the model is served in."""
    site: Literal["feed-forward", "attention"] = "feed-forward"
    """Which output projection of the edited blocks holds the facts: MEMIT edits feed-forward."""
    host: str = "127.0.0.1"
    """Address to listen on; one that others can reach needs an API key to be made before."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 picks a free one."""
    key_pepper: SecretStr | None = Field(default=None, min_length=32)
    """Secret that API keys are stored under; unset keeps one in a file in the data directory."""
    method: str = "memit+sphere"
    """How an edit is computed when the request names no method."""
    worker: Literal["embedded", "external"] = "embedded"
    """Who executes edits: this process, or another that runs `errata worker`."""
    lease_s: float = Field(default=15.0, ge=1, allow_inf_nan=False)
    """Silence of the process that executes edits after which another takes over, in seconds."""
    batch_size: int = Field(default=16, ge=1, le=1000)
    """Most edits the worker solves together; an atomic batch is solved whole."""
    snapshot_every: int = Field(default=256, ge=0)
    """Revisions after which the worker takes a snapshot by itself; 0 means never."""
    snapshots_kept: int = Field(default=4, ge=1)
    """How many of the worker's own snapshots are kept, the newest; labelled ones always are."""
    exports_kept: int = Field(default=8, ge=1)
    """How many finished exports are kept to be downloaded, the newest."""
    gate_delta_norm: Size = 1.0
    """Most a revision may change a matrix by, as a share of it (Frobenius norms)."""
    gate_target_said: Share = 1.0
    """Least share of the target's tokens that must be the most probable after an edit."""
    gate_target_p: Share = 0.0
    """Least probability of the target after an edit (geometric mean over its tokens)."""
    gate_neighbours_kept: Share = 0.0
    """Least share of an edit's neighbours that must keep their most probable answer."""
    gate_canaries_kept: Share = 0.5
    """Least share of neutral prompts, and of questions in conversation, answered as by the base."""
    gate_earlier_kept: Share = 0.5
    """Least share of a sample of earlier edits, true before, that must be true after."""
    gate_energy_drift: Size = 0.05
    """Most that an edited matrix's hyperspherical energy may differ from the base's, as a share."""
    gate_perplexity_ratio: Size = 1.5
    """Most that perplexity on a reference text may be, as a multiple of the base's."""
    gate_earlier_sample: int = Field(default=8, ge=0, le=1000)
    """Most earlier edits that are asked again before a revision is committed."""
    gate_perplexity_tokens: int = Field(default=128, ge=2, le=100_000)
    """How much of the reference text perplexity is measured on, in tokens."""
    max_body_bytes: int = Field(default=4_194_304, ge=1_024)
    """Largest request body; a larger one is answered 413."""
    max_prompt_chars: int = Field(default=100_000, ge=1)
    """Longest prompt of a query, and longest target of a probe, in characters."""
    max_prompt_tokens: int = Field(default=32_768, ge=1)
    """Longest prompt of a query or an edit, in tokens; the model's context may hold fewer."""
    max_target_tokens: int = Field(default=64, ge=1, le=64)
    """Longest target of an edit, in tokens: one value can name things, not recite texts."""
    edits_per_minute: int = Field(default=3_000, ge=0)
    """Most edits a caller may post in a minute; more are answered 429. 0 means any number."""
    tokens_per_minute: int = Field(default=200_000, ge=0)
    """Most tokens a caller may have generated in a minute; 0 means any number."""
    concurrent_streams: int = Field(default=64, ge=0)
    """Most streams a caller may have open at the same time; 0 means any number."""
    max_rows: int = Field(default=32, ge=16)
    """Most choices of queries generated at the same time; further ones wait their turn."""
    min_revision_wait_s: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    """Longest time X-Min-Revision waits for a committed revision to be served, in seconds."""
    max_wait_s: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    """Longest time a request may ask to be kept waiting, in seconds."""
    max_listeners: int = Field(default=100, ge=1)
    """Most clients that listen to events at the same time; a further one is answered 429."""
    keep_alive_s: float = Field(default=15.0, gt=0, allow_inf_nan=False)
    """Silence after which a stream of events sends a sign of life, in seconds."""
    queue_poll_s: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """How often the worker looks into the database although no doorbell rang, in seconds."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """How logs are written to standard error; auto is console on a terminal, json elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Loopback port of `errata worker` for Prometheus; 0 is none. A server has GET /metrics."""

    @property
    def is_on_loopback(self) -> bool:
        """Whether only this machine reaches the address; decided by it alone, not by who asks."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
