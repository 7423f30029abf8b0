"""From a string and an environment to a model, a key and a URL."""

import stat
from pathlib import Path

import pytest

from luminaguard.errors import ModelAuthError, ModelError
from luminaguard.llm.choose import choose_model
from luminaguard.llm.keys import Key, find_key
from luminaguard.llm.names import PROVIDERS, parse_name
from luminaguard.llm.patience import FallbackChain
from luminaguard.llm.settings import ModelSettings, ProviderSettings
from luminaguard.llm.usage import Usage, money_text

SECRET = "sk-secret"


def no_keyring(provider: str) -> str | None:
    del provider
    return None


@pytest.mark.parametrize(
    ("text", "provider", "model", "url"),
    [
        ("anthropic:claude-x", "anthropic", "claude-x", ""),
        ("ollama:qwen3:8b", "ollama", "qwen3:8b", ""),
        ("http://127.0.0.1:8080/v1#m", "compatible", "m", "http://127.0.0.1:8080/v1"),
        ("https://models.example/v1/", "compatible", "default", "https://models.example/v1"),
    ],
)
def test_a_name_is_read(text: str, provider: str, model: str, url: str) -> None:
    name = parse_name(text)
    assert (name.provider.name, name.model, name.base_url) == (provider, model, url)


@pytest.mark.parametrize(
    "text", ["", "gpt-5", "nobody:m", "openai:", "openai", "http://", "https:///x", "compatible:m"]
)
def test_a_name_of_no_model_is_an_error_that_says_what_is(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_name(text)
    assert "anthropic:MODEL" in (caught.value.hint or "")


def test_a_key_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ModelError, match="key in a URL") as caught:
        parse_name(f"http://user:{SECRET}@host/v1")
    assert SECRET not in str(caught.value)


def test_a_key_is_taken_from_the_environment_then_the_keyring() -> None:
    provider = PROVIDERS["anthropic"]
    environ = {"ANTHROPIC_API_KEY": f" {SECRET}\n"}
    found = find_key(provider, environ=environ, keyring=lambda _: "other")
    assert found
    assert (found.reveal(), found.source) == (SECRET, "ANTHROPIC_API_KEY")
    found = find_key(provider, environ={}, keyring={"anthropic": SECRET}.get)
    assert found
    assert (found.reveal(), found.source) == (SECRET, "keyring")


def test_a_key_command_comes_first_and_is_run_without_a_shell() -> None:
    found = find_key(
        PROVIDERS["openai"],
        key_command="printf '%s' '$HOME;x'",
        environ={"OPENAI_API_KEY": "other"},
        keyring=no_keyring,
    )
    assert found
    assert found.reveal() == "$HOME;x"


@pytest.mark.parametrize("command", ["false", "true", "printf 'a\\nb'", "no-such-program", "'"])
def test_a_key_command_without_a_key_is_an_error(command: str) -> None:
    with pytest.raises(ModelAuthError):
        find_key(PROVIDERS["openai"], key_command=command, environ={}, keyring=no_keyring)


def test_a_missing_key_says_where_it_is_looked_for() -> None:
    with pytest.raises(ModelAuthError) as caught:
        find_key(PROVIDERS["mistral"], environ={}, keyring=no_keyring)
    assert "MISTRAL_API_KEY" in (caught.value.hint or "")


def test_a_local_server_needs_no_key() -> None:
    assert find_key(PROVIDERS["ollama"], environ={}, keyring=no_keyring) is None


@pytest.mark.guarantee("G10")
def test_a_key_does_not_show_itself() -> None:
    key = Key(SECRET, "keyring")
    assert SECRET not in f"{key} {key!r} {[key]}"
    assert key.taken_out_of(f"bad key {SECRET}.") == "bad key [key]."


def test_fallbacks_stand_behind_the_model() -> None:
    settings = ModelSettings(name="ollama:a", fallback=("llamacpp:b", "scripted"))
    model = choose_model(settings, environ={})
    assert isinstance(model, FallbackChain)
    assert [one.name for one in model.models] == ["ollama:a", "llamacpp:b", "scripted"]


def test_without_a_model_nothing_is_chosen() -> None:
    with pytest.raises(ModelError, match="no model is chosen") as caught:
        choose_model(ModelSettings())
    assert "LUMINAGUARD_MODEL" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://models.example/v1", True),
        ("http://192.0.2.7/v1", True),
        ("http://127.0.0.1/v1", False),
        ("http://localhost/v1", False),
        ("http://[::1]:1/v1", False),
        ("https://models.example/v1", False),
    ],
)
def test_a_key_on_an_open_wire_is_told_of(url: str, warned: bool) -> None:
    told: list[str] = []
    environ = {"OPENAI_API_KEY": SECRET}
    providers = {"openai": ProviderSettings(base_url=url)}
    choose_model(ModelSettings(name="openai:m"), providers, environ=environ, notice=told.append)
    assert bool(told) is warned
    assert SECRET not in "".join(told)


def test_a_known_models_price_is_known_and_an_unknown_ones_is_not() -> None:
    environ = {"ANTHROPIC_API_KEY": SECRET}
    million = Usage(input_tokens=1000, output_tokens=1000)
    known = choose_model(ModelSettings(name="anthropic:claude-sonnet-4-5"), environ=environ)
    price = known.price(million)
    assert price is not None
    assert price > 0
    unknown = choose_model(ModelSettings(name="anthropic:no-such-model"), environ=environ)
    assert unknown.price(million) is None
    assert choose_model(ModelSettings(name="ollama:any"), environ={}).price(million) == 0


def test_use_adds_up_and_the_unknown_stays_unknown() -> None:
    used = Usage(input_tokens=1, output_tokens=2)
    assert (used + used).tokens == 6
    assert (used + Usage(cost_usd=None)).cost_usd is None
    assert money_text(None) == "cost unknown"
    assert money_text(used.cost_usd) == "$0.00"


def test_a_tiny_cost_is_not_shown_as_none() -> None:
    from decimal import Decimal

    assert money_text(Decimal("0.0004")) == "less than $0.01"
    assert money_text(Decimal("1234.5")) == "$1,234.50"


def test_the_key_commands_output_is_not_left_on_disk(tmp_path: Path) -> None:
    script = tmp_path / "key"
    script.write_text(f"#!/bin/sh\necho {SECRET}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    found = find_key(PROVIDERS["google"], key_command=str(script), environ={}, keyring=no_keyring)
    assert found
    assert found.reveal() == SECRET
    assert sorted(tmp_path.iterdir()) == [script]
