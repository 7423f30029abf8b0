"""From a model's name and key to its provider's client.

Each client is built without retries of its own: how often is tried, how long is waited and what the
user is told is one thing for all providers (`luminaguard.llm.patience`).
"""

from collections.abc import Callable

import httpx2
from pydantic_ai.models import Model

from luminaguard.llm.keys import Key
from luminaguard.llm.names import COMPATIBLE, ModelName

NO_KEY = "no-key"
"""Sent where a protocol wants a key and its server does not."""
CONNECT_TIMEOUT_S = 10.0


def http_client(timeout_s: float) -> httpx2.AsyncClient:
    """Return a client for one provider; whoever made it closes it.

    `timeout_s`: longest silence of the server within an answer.
    """
    timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
    return httpx2.AsyncClient(timeout=timeout, follow_redirects=False)


def connect(name: ModelName, key: Key | None, base_url: str, client: httpx2.AsyncClient) -> Model:
    """Return a provider's model. Nothing is sent yet.

    Args:
        name: Which model, of which provider.
        key: For the provider.
        base_url: Where it is reached; empty: where its library knows it to be.
        client: Carries the requests.
    """
    secret = key.reveal() if key else NO_KEY
    build = _BUILDERS.get(name.provider.name, _openai_compatible)
    return build(name.model, secret, base_url or None, client)


Builder = Callable[[str, str, str | None, httpx2.AsyncClient], Model]


def _anthropic(model: str, key: str, base_url: str | None, client: httpx2.AsyncClient) -> Model:
    from anthropic import AsyncAnthropic  # noqa: PLC0415 - half a second each: only the one in use
    from pydantic_ai.models.anthropic import AnthropicModel  # noqa: PLC0415
    from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: PLC0415

    api = AsyncAnthropic(api_key=key, base_url=base_url, max_retries=0, http_client=client)
    return AnthropicModel(model, provider=AnthropicProvider(anthropic_client=api))


def _openai(model: str, key: str, base_url: str | None, client: httpx2.AsyncClient) -> Model:
    from openai import AsyncOpenAI  # noqa: PLC0415
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415

    api = AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, http_client=client)
    return OpenAIChatModel(model, provider=OpenAIProvider(openai_client=api))


def _openai_compatible(
    model: str, key: str, base_url: str | None, client: httpx2.AsyncClient
) -> Model:
    from openai import AsyncOpenAI  # noqa: PLC0415
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider  # noqa: PLC0415

    api = AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, http_client=client)
    return OpenAIChatModel(model, provider=OpenAICompatibleProvider(COMPATIBLE, openai_client=api))


def _ollama(model: str, key: str, base_url: str | None, client: httpx2.AsyncClient) -> Model:
    from openai import AsyncOpenAI  # noqa: PLC0415
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415
    from pydantic_ai.providers.ollama import OllamaProvider  # noqa: PLC0415

    api = AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, http_client=client)
    return OpenAIChatModel(model, provider=OllamaProvider(openai_client=api))


def _google(model: str, key: str, base_url: str | None, client: httpx2.AsyncClient) -> Model:
    from pydantic_ai.models.google import GoogleModel  # noqa: PLC0415
    from pydantic_ai.providers.google import GoogleProvider  # noqa: PLC0415

    return GoogleModel(
        model, provider=GoogleProvider(api_key=key, base_url=base_url, http_client=client)
    )


def _mistral(model: str, key: str, base_url: str | None, client: httpx2.AsyncClient) -> Model:
    from pydantic_ai.models.mistral import MistralModel  # noqa: PLC0415
    from pydantic_ai.providers.mistral import MistralProvider  # noqa: PLC0415

    return MistralModel(
        model, provider=MistralProvider(api_key=key, base_url=base_url, http_client=client)
    )


_BUILDERS: dict[str, Builder] = {
    "anthropic": _anthropic,
    "openai": _openai,
    "google": _google,
    "mistral": _mistral,
    "ollama": _ollama,
    "llamacpp": _openai_compatible,
    COMPATIBLE: _openai_compatible,
}
