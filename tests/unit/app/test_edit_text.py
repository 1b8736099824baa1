from app.edits.text import EditText, Neighbour, fact_digest, subject_digest

TEXT = EditText(
    subject="Danielle Darrieux",
    prompt="The mother tongue of {} is",
    template="The mother tongue of {} is",
    target="English",
    target_old="French",
    paraphrases=("Danielle Darrieux natively speaks",),
    neighbours=(Neighbour("Michel Rocard speaks", "French"), Neighbour("Paris is in")),
    metadata={"ticket": "KB-17"},
)
SALT, OTHER_SALT = "00" * 16, "01" * 16


def test_a_text_is_read_back_as_it_was_written() -> None:
    assert EditText.from_json(TEXT.to_json()) == TEXT


def test_the_digest_depends_on_text_and_salt() -> None:
    assert TEXT.digest(SALT) == TEXT.digest(SALT)
    assert TEXT.digest(SALT) != TEXT.digest(OTHER_SALT)
    shorter = EditText.from_json(TEXT.to_json() | {"metadata": {}})
    assert shorter.digest(SALT) != TEXT.digest(SALT)


def test_case_and_white_space_do_not_make_another_subject_or_fact() -> None:
    assert subject_digest("Danielle Darrieux") == subject_digest(" DANIELLE\tdarrieux ")
    assert subject_digest("Straße") == subject_digest("STRASSE")
    assert fact_digest("A", "{} is") == fact_digest("a", " {}  IS")


def test_subject_and_prompt_do_not_run_into_each_other() -> None:
    assert fact_digest("a b", "{}") != fact_digest("a", "b {}")
