import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app.cli.worker import run_worker
from app.errors import QueueUnavailable
from app.kit.env_file import UnusableEnvFileError
from app.settings import Settings


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ERRATA_{name.upper()}", raising=False)
    monkeypatch.delenv("ERRATA_ENV_FILE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.chdir(tmp_path)


def test_everything_lives_below_the_data_directory(tmp_path: Path) -> None:
    settings = Settings()
    assert settings.data_dir == tmp_path / "share" / "errata"
    assert settings.cache_dir == settings.data_dir / "cache"
    assert settings.database_url == f"sqlite:///{settings.data_dir / 'errata.db'}"


def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("ERRATA_PORT=9001\nERRATA_MODEL=./from-file\nOTHER=1\n")
    monkeypatch.setenv("ERRATA_PORT", "9002")
    settings = Settings()
    assert (settings.port, settings.model) == (9002, "./from-file")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / ".env"
    file.write_text("ERRATA_PORT=9001\n")
    file.chmod(mode)
    with pytest.raises(UnusableEnvFileError, match="chmod go-w"):
        Settings()
    file.chmod(0o644)
    assert Settings().port == 9001


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("ERRATA_PORT=9001\n")
    os.chown(file, 65_534, -1)
    with pytest.raises(UnusableEnvFileError, match="belongs to another user"):
        Settings()


def test_the_file_may_be_named_and_may_be_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("ERRATA_PORT=9001\n")
    (tmp_path / "mine").write_text("ERRATA_PORT=9002\n")
    monkeypatch.setenv("ERRATA_ENV_FILE", str(tmp_path / "mine"))
    assert Settings().port == 9002
    monkeypatch.setenv("ERRATA_ENV_FILE", "")
    assert Settings().port == 8000
    monkeypatch.setenv("ERRATA_ENV_FILE", str(tmp_path / "absent"))
    with pytest.raises(UnusableEnvFileError, match="absent"):
        Settings()


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("key_pepper", "p" * 40),
        ("database_url", "postgresql+psycopg://u:hunter2@host/db"),
        ("redis_url", "redis://:hunter2@host"),
    ],
)
def test_a_secret_may_be_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, secret: str
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{secret}\n")
    monkeypatch.setenv(f"ERRATA_{name.upper()}_FILE", str(file))
    found = getattr(Settings(), name)
    assert (found.get_secret_value() if isinstance(found, SecretStr) else found) == secret
    assert "hunter2" not in repr(Settings())
    with pytest.raises(ValidationError, match=f"{name} and {name}_file are both given"):
        Settings.model_validate({name: secret, f"{name}_file": file})
    file.write_text("\n")
    with pytest.raises(ValidationError, match="holds no secret"):
        Settings()
    file.unlink()
    with pytest.raises(ValidationError, match="cannot be read as a secret"):
        Settings()


def test_a_secret_in_a_file_is_held_to_what_one_must_be(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("short")
    with pytest.raises(ValidationError, match="32"):
        Settings(key_pepper_file=file)


def test_hosts_are_names_without_scheme_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRATA_HOSTS", "Errata.example.org, 192.0.2.1,[2001:db8::1]")
    assert Settings().hosts == ("errata.example.org", "192.0.2.1", "[2001:db8::1]")
    for wrong in ("https://errata.example.org", "errata.example.org:8000", "a,,b", "é"):
        with pytest.raises(ValidationError, match="is no name of a host"):
            Settings.model_validate({"hosts": wrong})


def test_a_misspelt_setting_in_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ERRATA_PROT=9001\n")
    with pytest.raises(ValidationError, match="prot"):
        Settings()


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@host/db", "postgresql+psycopg://u:p@host/db"),
        ("postgresql://host/db", "postgresql+psycopg://host/db"),
        ("postgresql+psycopg://host/db", "postgresql+psycopg://host/db"),
        ("sqlite:////var/errata.db", "sqlite:////var/errata.db"),
    ],
)
def test_a_database_url_gets_its_driver(given: str, used: str) -> None:
    assert Settings(database_url=given).database_url == used


@pytest.mark.parametrize("url", ["mysql://host/db", "errata.db", "sqlite://", "sqlite:///:memory:"])
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="use sqlite:///FILE or postgresql"):
        Settings(database_url=url)


def test_a_redis_url_is_one_that_the_client_knows() -> None:
    assert Settings(redis_url="rediss://host:6380/1").redis_url == "rediss://host:6380/1"
    with pytest.raises(ValidationError, match="use redis://, rediss://, unix://"):
        Settings(redis_url="localhost:6379")


def test_a_doorbell_in_memory_is_for_one_process(tmp_path: Path) -> None:
    settings = Settings(redis_url="memory://")
    assert not settings.has_shared_queue
    assert Settings().has_shared_queue
    with pytest.raises(ValidationError, match="memory:// rings in one process only"):
        Settings(redis_url="memory://", worker="external")
    with pytest.raises(ValidationError, match="memory://"):
        Settings(redis_url="memory://somewhere")
    with pytest.raises(QueueUnavailable, match="does not hear memory://"):
        run_worker(settings.model_copy(update={"data_dir": tmp_path}))
    assert not list(tmp_path.iterdir())


def test_a_password_is_not_shown() -> None:
    settings = Settings(database_url="postgres://u:hunter2@host/db", redis_url="redis://:hunter2@h")
    assert "hunter2" not in repr(settings)


def test_the_pepper_of_keys_is_not_shown() -> None:
    assert "hunter2" not in repr(Settings(key_pepper=SecretStr("hunter2" * 5)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_is_this_machine_alone(host: str) -> None:
    assert Settings(host=host).is_on_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "localhost.example"])  # noqa: S104
def test_any_other_address_is_not(host: str) -> None:
    assert not Settings(host=host).is_on_loopback


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_origins_are_whole_and_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    given = "https://App.example.org:443, http://localhost:5173,http://[::1]:80,https://a.org:8443"
    monkeypatch.setenv("ERRATA_CORS_ORIGINS", given)
    assert Settings().cors_origins == (
        "https://app.example.org",
        "http://localhost:5173",
        "http://[::1]",
        "https://a.org:8443",
    )
    wrong = ("*", "null", "app.example.org", "https://a.org/", "https://*.a.org", "ftp://a.org", "")
    for origin in (*wrong, "https://a.org:99999", "https://u@a.org"):
        with pytest.raises(ValidationError, match="is no origin"):
            Settings.model_validate({"cors_origins": origin})
