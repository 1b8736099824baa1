import pytest

from app.settings import Settings
from tests.acceptance.cli.conftest import Run


def test_help_documents_every_setting(alone: Run) -> None:
    shown = alone("serve", "--help").stdout
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')} " in shown
        assert f"ERRATA_{name.upper()}" in shown
        assert field.description
        assert field.description.split()[0] in shown


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--port", "70000"),
        ("--batch-size", "none"),
        ("--database-url", "mysql://x"),
        ("--key-pepper", "short"),
    ],
)
def test_a_bad_setting_is_named_before_anything_starts(alone: Run, option: str, value: str) -> None:
    done = alone("serve", option, value)
    assert done.returncode == 2
    assert f"setting {option.removeprefix('--').replace('-', '_')}:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_cannot_be_loaded_ends_the_server_with_the_reason(alone: Run) -> None:
    done = alone("serve", "--model", "no-such-folder.gguf", "--port", "0")
    assert done.returncode == 1
    assert "no-such-folder.gguf" in done.stderr
