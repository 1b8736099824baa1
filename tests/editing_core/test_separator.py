import pytest

from editing_core.separator import separator_of


@pytest.mark.parametrize(
    ("prompt", "target"),
    [
        ("The capital of France is", "Rome"),
        ("Answer in one word.", "Rome"),
        ("The year was 1815.", "The"),
        ("What is the capital?", "Rome"),
        ("Answer:", "Rome"),
        ("He spoke to Dr.", "Smith"),
        ("He serves in the U.S.", "Army"),
        ("한국의 수도는", "서울"),
        ("Столица Франции —", "Рим"),
        ('He said "no"', "and"),
        ("He said ‘no’", "and"),
        ("He said 'not so'", "and"),
        ("Er sagte „Hallo“", "und"),
        ("«Oui»", "dit"),
        ("the dogs'", "tail"),
        ("(Rome)", "Italy"),
        ("Rome -", "Italy"),
        ("x =", "5"),
        ("It costs 5 €", "each"),
        ("The capital of Japan, written in Japanese, is", "東京"),
    ],
)
def test_one_space_stands_between_words(prompt: str, target: str) -> None:
    assert separator_of(prompt, target) == " "


@pytest.mark.parametrize(
    ("prompt", "target"),
    [
        ("The capital is ", "Rome"),
        ("The capital is\n", "Rome"),
        ("The capital is", " Rome"),
        ("中国的首都是", "北京"),
        ("他说：", "Rome"),
        ("日本の首都は", "東京"),
        ("ดนตรีของ", "ไทย"),
        ("ເມືອງຫຼວງຂອງລາວແມ່ນ", "ວຽງຈັນ"),
        ("រាជធានីរបស់កម្ពុជាគឺ", "ភ្នំពេញ"),
        ("မြန်မာနိုင်ငံ၏မြို့တော်မှာ", "နေပြည်တော်"),
        ("水の化学式は", "H"),
        ("苹果公司发布了iPhone", "手机"),
        ("「", "Rome"),
        ("Rome", "。"),
    ],
)
def test_white_space_and_unspaced_scripts_need_none(prompt: str, target: str) -> None:
    assert separator_of(prompt, target) == ""


@pytest.mark.parametrize(
    ("prompt", "target"),
    [
        ('He said "', "Hello"),
        ("the word '", "Rome"),
        ("He said “", "Hello"),
        ("Er sagte „", "Hallo"),
        ("Il dit «", "Oui"),
        ("f(", "42"),
        ("names = [", "1"),
        ('print("Hello, ', "world"),
        ("The price is $", "400"),
        ("The price is €", "12.50"),
        ("https://", "www"),
        ("https://en.", "wikipedia"),
        ("www.", "example"),
        ("bob@", "gmail"),
        ("bob@gmail.", "com"),
        ("The file is in /", "etc"),
        ("C:\\", "Windows"),
        ("#", "news"),
        ("self.x_", "y"),
        ("Jean-", "Paul"),
        ("It was -", "5"),
        ("3.", "14"),
        ("x=", "5"),
        ("Le chat s'appelle l'", "animal"),
        ("dell'", "arte"),
    ],
)
def test_what_opens_goes_on_at_once(prompt: str, target: str) -> None:
    assert separator_of(prompt, target) == ""


@pytest.mark.parametrize(
    ("prompt", "target"),
    [
        ("Rome", ", Italy"),
        ("Rome", "."),
        ("(Rome", ")"),
        ("Rome", "'s capital"),
        ("Is it Rome", "?"),
    ],
)
def test_what_ends_a_phrase_follows_at_once(prompt: str, target: str) -> None:
    assert separator_of(prompt, target) == ""
