"""A call's words are told apart, and none is lost."""

from hypothesis import given
from hypothesis import strategies as st

from luminaguard.approval.look import Look, Style
from luminaguard.approval.words import LONGEST, argument_words, command_words

LOOK = Look(color=True, unicode=True)


def test_programs_arguments_paths_and_what_joins_them_look_different() -> None:
    found = command_words("A=1 make release && ./run.sh --out=dist src/a.py | tee 'b c'", LOOK)
    styles = {text: style for style, text in found}
    assert styles["make"] is styles["./run.sh"] is styles["tee"] is Style.STRONG
    assert styles["release"] is styles["--out=dist"] is styles["'b c'"] is Style.ARGUMENT
    assert styles["src/a.py"] is Style.CYAN
    assert styles["&&"] is styles["|"] is Style.WARNING


def test_a_redirection_leads_to_a_file_not_to_a_program() -> None:
    styles = {text: style for style, text in command_words("echo hi > /etc/motd", LOOK)}
    assert styles["/etc/motd"] is Style.CYAN


def test_an_argument_has_no_program() -> None:
    assert all(style is not Style.STRONG for style, _ in argument_words("rm -rf x; y", LOOK))


@given(st.text() | st.text(st.sampled_from("ab/ '\"\\;&|<>()=~-.")))
def test_no_character_is_lost(text: str) -> None:
    text = text.replace("\n", "")
    for words in (command_words, argument_words):
        assert "".join(part for _, part in words(text, LOOK)) == text


def test_a_very_long_line_stays_in_one_piece() -> None:
    assert (
        len(command_words("a " * LONGEST, LOOK)) == len(argument_words("a " * LONGEST, LOOK)) == 1
    )
