"""What an operator may set: environment variables `ERRATA_*`, a `.env` file, files with secrets."""

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.kit.env_file import OwnEnvFile
from app.kit.files import read_secret

#: settings that may be read from a file, named by a setting of its own: database_url_file
SECRETS = ("database_url", "redis_url", "key_pepper")

_POSTGRES_SCHEMES = ("postgres://", "postgresql://")

_NAME = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]", re.ASCII)
_ORIGIN = re.compile(
    rf"(?P<page>(?P<scheme>https?)://(?:{_NAME.pattern}))(?::(?P<port>[0-9]{{1,5}}))?"
)
_OWN_PORTS = {"http": "80", "https": "443"}
_MAX_PORT = 65_535
_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
_MEMORY_URL = "memory://"


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "errata"


def _default_cache_dir(validated: dict[str, Any]) -> Path:
    return Path(validated["data_dir"]) / "cache"


def _default_database_url(validated: dict[str, Any]) -> str:
    return f"sqlite:///{Path(validated['data_dir']) / 'errata.db'}"


def _default_share_of_listeners(validated: dict[str, Any]) -> int:
    return (int(validated["max_listeners"]) + 1) // 2


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
    if url == _MEMORY_URL or url.startswith(_REDIS_SCHEMES):
        return url
    raise ValueError(
        f"{url.partition(':')[0]!r} is no Redis: use {', '.join(_REDIS_SCHEMES)}…, or {_MEMORY_URL}"
    )


def _split(names: object) -> object:
    return names.split(",") if isinstance(names, str) else names


def _host_name(text: str) -> str:
    name = text.strip().lower()
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{text!r} is no name of a host: write errata.example.org, 192.0.2.1 or [2001:db8::1], "
            "without scheme and port"
        )
    return name


def _origin(text: str) -> str:
    found = _ORIGIN.fullmatch(text.strip().lower())
    if found is None or int(found["port"] or 0) > _MAX_PORT:
        raise ValueError(
            f"{text!r} is no origin: write https://app.example.org or http://localhost:5173, "
            "without a path; none stands for all"
        )
    # Browsers leave out the port that a scheme has by itself.
    own = found["port"] == _OWN_PORTS[found["scheme"]]
    return found["page"] if own or found["port"] is None else f"{found['page']}:{found['port']}"


HostName = Annotated[str, AfterValidator(_host_name)]
Names = Annotated[tuple[HostName, ...], NoDecode, BeforeValidator(_split)]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_split)
]
DatabaseUrl = Annotated[str, AfterValidator(_with_driver)]
RedisUrl = Annotated[str, AfterValidator(_redis)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]
HashPrefix = Annotated[str, Field(pattern=r"^[0-9a-f]{12,64}$")]
AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class Settings(BaseSettings):
    """Everything that may differ between two installations; built once and never changed."""

    model_config = SettingsConfigDict(
        env_prefix="ERRATA_",
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
    database_url_file: AbsolutePath | None = None
    """File that holds the database's URL, so that its password is in no list of processes."""
    accept_older_database: HashPrefix | None = None
    """Go on with a database that lacks committed entries: the hash of the newest it has."""
    checkpoint_file: AbsolutePath | None = None
    """File outside of the data directory that signed checkpoints are appended to, a line each."""
    redis_url: RedisUrl | None = Field(default=None, repr=False)
    """Redis or Valkey to use as the doorbell; memory:// uses none; unset starts an embedded one."""
    redis_url_file: AbsolutePath | None = None
    """File that holds the queue's URL, so that its password is in no list of processes."""
    queue_server: AbsolutePath | None = None
    """Server to embed: a valkey-server or redis-server; unset looks on PATH, then in the wheel."""
    device: str = "cpu"
    """Where the resident model lives: cpu, cuda, cuda:1."""
    solve_device: str = "cpu"
    """Where key statistics lie and edits are solved; there are d_in² float64 numbers a layer."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format the model is served in."""
    site: Literal["feed-forward", "attention"] = "feed-forward"
    """Which output projection of the edited blocks holds the facts: MEMIT edits feed-forward."""
    host: str = "127.0.0.1"
    """Address to listen on; one that others can reach needs an API key to be made before."""
    hosts: Names = ()
    """Names the service is reached by, separated by commas; a request for another is refused."""
    cors_origins: Origins = ()
    """Origins whose pages may ask with a key, separated by commas: https://app.example.org."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 picks a free one."""
    key_pepper: SecretStr | None = Field(default=None, min_length=32)
    """Secret that API keys are stored under; unset keeps one in a file in the data directory."""
    key_pepper_file: AbsolutePath | None = None
    """File that holds the secret of key_pepper, as orchestrators hand secrets over."""
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
    max_labels: int = Field(default=100, ge=1)
    """Most labels, each of which keeps a revision whole; a further one is answered 409."""
    max_labels_bytes: int = Field(default=32 * 2**30, ge=0)
    """Most bytes that labelled revisions may take on disk; 0 means any number."""
    exports_kept: int = Field(default=8, ge=1)
    """How many finished exports are kept to be downloaded, the newest."""
    exports_kept_bytes: int = Field(default=64 * 2**30, ge=0)
    """Most bytes that finished exports may take, but for the newest; 0 means any number."""
    max_exports: int = Field(default=16, ge=1)
    """Most exports that may be unfinished at the same time; a further one is answered 429."""
    exports_per_caller: int = Field(default=4, ge=1)
    """The same for one caller."""
    min_free_bytes: int = Field(default=256 * 2**20, ge=0)
    """Free space of the data directory below which nothing that grows is accepted (507)."""
    gate_delta_norm: Size = 1.0
    """Most a revision may change a matrix by, as a share of it (Frobenius norms)."""
    gate_target_said: Share = 1.0
    """Least share of the target's tokens that must be the most probable after an edit."""
    gate_target_p: Share = 0.0
    """Least probability of the target after an edit (geometric mean over its tokens)."""
    gate_neighbours_kept: Share = 0.0
    """Least share of an edit's neighbours that must be answered as before."""
    gate_relation_kept: Share = 0.3
    """Least share of other subjects with which an edit's prompt must be continued as before."""
    gate_essence_kept: Share = 0.0
    """Least share of tokens that must be said as before in other texts about an edit's subject."""
    gate_subject_drift: Size = 0.05
    """Most divergence from before, in nats a token, after an edit's subject in ordinary text."""
    gate_siblings_kept: Share = 1.0
    """Least share of the other facts of an edit's subject, true before, that must be true after."""
    gate_canaries_kept: Share = 0.5
    """Least share of neutral prompts, and of questions in conversation, answered as by the base."""
    gate_earlier_kept: Share = 0.75
    """Least share of a sample of earlier edits, true before, that must be true after."""
    gate_energy_drift: Size = 0.05
    """Most that an edited matrix's hyperspherical energy may differ from the base's, as a share."""
    gate_perplexity_ratio: Size = 1.5
    """Most that perplexity on a reference text may be, as a multiple of the base's."""
    gate_earlier_sample: int = Field(default=8, ge=0, le=1000)
    """Most earlier edits that are asked again before a revision is committed."""
    gate_perplexity_tokens: int = Field(default=128, ge=2, le=100_000)
    """How much of the reference text perplexity is measured on, in tokens."""
    max_connections: int = Field(default=1_000, ge=8)
    """Most connections open at the same time; fewer where a process may open few files."""
    max_connections_per_address: int = Field(default=256, ge=0)
    """Most connections open at the same time from one address; 0 means any number."""
    max_header_bytes: int = Field(default=32_768, ge=1_024)
    """Longest request line and headers together; a longer one is answered 431, or 414."""
    max_headers: int = Field(default=100, ge=16)
    """Most headers of a request; more are answered 431."""
    header_timeout_s: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    """Longest time a client may take to send a request line and headers, in seconds."""
    body_stall_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Longest pause while a client sends a body, in seconds."""
    body_timeout_s: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    """Longest time a client may take to send a body, in seconds."""
    idle_timeout_s: int = Field(default=30, ge=1)
    """How long a connection is kept for a next request, in seconds."""
    write_stall_s: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    """Longest time a client may take in nothing of an answer that waits for it, in seconds."""
    max_body_bytes: int = Field(default=4_194_304, ge=1_024)
    """Largest request body; a larger one is answered 413."""
    max_prompt_chars: int = Field(default=100_000, ge=1)
    """Longest prompt of a query, and longest target of a probe, in characters."""
    max_prompt_tokens: int = Field(default=32_768, ge=1)
    """Longest prompt of a query or an edit, in tokens; the model's context may hold fewer."""
    max_scores: int = Field(default=250_000, ge=1)
    """Most log-probabilities in one answer: positions × n × (logprobs + 1)."""
    cut_max_tokens: bool = False
    """Cut max_tokens to what the model's context has left, instead of answering 400."""
    old_views: int = Field(default=4, ge=1)
    """Most revisions but the head that are held in memory to be queried at the same time."""
    max_target_tokens: int = Field(default=64, ge=1, le=64)
    """Longest target of an edit, in tokens: one value can name things, not recite texts."""
    edits_per_minute: int = Field(default=3_000, ge=0)
    """Most edits a caller may post in a minute; more are answered 429. 0 means any number."""
    queued_per_caller: int = Field(default=10_000, ge=0)
    """Most edits of a caller that may wait; more are answered 429. 0 means any number."""
    edit_bytes_per_minute: int = Field(default=16 * 2**20, ge=0)
    """Most bytes of texts that a caller's edits may have in a minute; 0 means any number."""
    idempotency_kept_s: float = Field(default=604_800.0, ge=60, allow_inf_nan=False)
    """How long an Idempotency-Key stands for its request, in seconds; then it is free again."""
    tokens_per_minute: int = Field(default=1_000_000, ge=0)
    """Most tokens of prompts and of answers a caller may use in a minute; 0 means any number."""
    concurrent_streams: int = Field(default=64, ge=0)
    """Most answers a caller may have streamed at the same time; 0 means any number."""
    max_rows: int = Field(default=32, ge=16)
    """Most choices of queries generated at the same time; further ones wait their turn."""
    min_revision_wait_s: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    """Longest time X-Min-Revision waits for a committed revision to be served, in seconds."""
    max_wait_s: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    """Longest time a request may ask to be kept waiting, in seconds."""
    max_waiters: int = Field(default=256, ge=1)
    """Most requests that are kept waiting (Prefer: wait); others are answered 202 at once."""
    waiters_per_caller: int = Field(default=64, ge=1)
    """The same for one caller."""
    max_listeners: int = Field(default=100, ge=1)
    """Most clients that listen to events at the same time; a further one is answered 429."""
    listeners_per_caller: int = Field(default_factory=_default_share_of_listeners, ge=1)
    """The same for one caller; default: half of them, which leaves the rest to other callers."""
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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options before the environment, and that before a `.env` file that is the user's own."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, OwnEnvFile(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _read_secrets(cls, given: dict[str, Any]) -> dict[str, Any]:
        read = dict(given)
        for name in SECRETS:
            path = given.get(f"{name}_file")
            if path is not None:
                if given.get(name) is not None:
                    raise ValueError(f"{name} and {name}_file are both given; give one of them")
                read[name] = read_secret(Path(path))
        return read

    @model_validator(mode="after")
    def _has_a_doorbell_that_is_heard(self) -> Self:
        if self.worker == "external" and not self.has_shared_queue:
            raise ValueError(
                f"ERRATA_REDIS_URL={_MEMORY_URL} rings in one process only, and "
                "ERRATA_WORKER=external leaves edits to another: name a Redis that both reach"
            )
        return self

    @property
    def has_shared_queue(self) -> bool:
        """Whether other processes hear the doorbell, and share what is counted."""
        return self.redis_url != _MEMORY_URL

    @property
    def is_on_loopback(self) -> bool:
        """Whether only this machine reaches the address; decided by it alone, not by who asks."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
