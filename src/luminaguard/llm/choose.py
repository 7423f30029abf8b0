"""From the configuration to a model."""

import gc
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from luminaguard.errors import ModelError
from luminaguard.llm.keys import Key, find_key
from luminaguard.llm.model import ChatModel
from luminaguard.llm.names import HOW_TO_NAME, SCRIPTED, ModelName, parse_name
from luminaguard.llm.patience import FallbackChain, Notice, PatientModel
from luminaguard.llm.scripted import LOOK_AROUND, ScriptedModel
from luminaguard.llm.settings import ModelSettings, ProviderSettings


def choose_model(
    settings: ModelSettings,
    providers: Mapping[str, ProviderSettings] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    notice: Notice = lambda _: None,
) -> ChatModel:
    """Return the configured model, with its fallbacks behind it. Nothing is sent yet.

    Args:
        settings: Which model, which fallbacks, how patiently.
        providers: How providers are reached, by name.
        environ: The host's environment, for keys and base URLs.
        notice: Told when a model is asked again or another one goes on.

    Raises:
        ModelError: no model is named, one is unknown, or one lacks its key or its library.
    """
    if not settings.name:
        raise ModelError(
            "no model is chosen",
            hint=f"use --model or LUMINAGUARD_MODEL, or name under [model]: {HOW_TO_NAME}",
        )
    models = [
        _one(name, settings, providers or {}, environ, notice)
        for name in (settings.name, *settings.fallback)
    ]
    return models[0] if len(models) == 1 else FallbackChain(models=models, notice=notice)


def _one(
    text: str,
    settings: ModelSettings,
    providers: Mapping[str, ProviderSettings],
    environ: Mapping[str, str],
    notice: Notice,
) -> ChatModel:
    kind, _, rest = text.partition(":")
    if kind == SCRIPTED:
        return ScriptedModel.from_file(Path(rest)) if rest else ScriptedModel(LOOK_AROUND)
    name = parse_name(text)
    reached = providers.get(name.provider.name, ProviderSettings())
    key = find_key(name.provider, key_command=reached.key_command, environ=environ)
    base_url = _base_url(name, reached, environ)
    if key and _is_overheard(base_url):
        notice(f"{name}: the key travels unencrypted to {base_url}")
    model = _remote(name, key, base_url, settings)
    return PatientModel(model=model, attempts=settings.attempts, notice=notice)


def _base_url(name: ModelName, reached: ProviderSettings, environ: Mapping[str, str]) -> str:
    """Return where the model is reached; empty: where its library knows it to be."""
    said = (
        environ.get(name.provider.base_url_variable, "") if name.provider.base_url_variable else ""
    )
    return name.base_url or reached.base_url or said or name.provider.base_url


def _is_overheard(base_url: str) -> bool:
    parts = urlsplit(base_url)
    if parts.scheme != "http" or parts.hostname == "localhost":
        return False
    try:
        return not ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return True


@contextmanager
def _no_collections() -> Generator[None]:
    """Import without looking for garbage: there is none, and a sixth of the time is saved."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _remote(name: ModelName, key: Key | None, base_url: str, settings: ModelSettings) -> ChatModel:
    try:
        with _no_collections():
            from luminaguard.llm.remote.connect import connect, http_client  # noqa: PLC0415 - slow
            from luminaguard.llm.remote.model import RemoteModel  # noqa: PLC0415

            client = http_client(settings.timeout_s)
            model = connect(name, key, base_url, client)
    except ImportError as error:
        raise ModelError(
            f"{name} needs a library that is not installed: {error.name}",
            hint="pip install 'luminaguard[models]'",
        ) from error
    return RemoteModel(
        model_name=name,
        model=model,
        client=client,
        key=key,
        timeout_s=settings.timeout_s,
        max_output_tokens=settings.max_output_tokens,
    )
