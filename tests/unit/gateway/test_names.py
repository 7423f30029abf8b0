"""Names of many servers side by side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luminaguard.gateway.names import MAX_CHARS, Place, directory, why_bad_server


def test_a_name_says_whose_tool_it_is() -> None:
    found = directory([Place(server="mail", name="send"), Place(server="chat", name="send")])
    assert set(found.places) == {"mail__send", "chat__send"}


def test_a_bare_name_cannot_pass_for_another_servers() -> None:
    names = [Place(server="mail", name="send"), Place(server="evil", name="mail__send")]
    found = directory(names, bare=frozenset({"evil"}))
    assert found.places == {}
    assert len(found.refused) == 2


@pytest.mark.parametrize("name", ["", "a b", "a\u200bb", "\u0430", "a\x1b[2J", "x" * 200, "a\n"])
def test_names_that_cannot_be_told_apart_are_refused(name: str) -> None:
    found = directory([Place(server="mail", name=name)])
    assert found.places == {}
    assert all(spelled.isascii() and spelled.isprintable() for spelled in found.refused)


@pytest.mark.parametrize("name", ["luminaguard", "LuminaGuard", "a__b", "", "a b", "a_", "x" * 65])
def test_servers_cannot_have_names_that_mislead(name: str) -> None:
    assert why_bad_server(name)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "a_b"]), st.text(alphabet="aB_ .\u200b", max_size=5)),
        unique=True,
    )
)
def test_every_offered_name_leads_back_to_one_tool(names: list[tuple[str, str]]) -> None:
    found = directory(Place(server=server, name=name) for server, name in names)
    for offered, place in found.places.items():
        assert offered == place.whole
        assert (place.server, place.name) in names
        assert len(offered) <= MAX_CHARS
