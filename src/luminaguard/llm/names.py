"""Models are chosen by one string: `provider:model`, or the URL of a server."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from luminaguard.errors import ModelError

SCRIPTED = "scripted"
URL_SCHEMES = ("http", "https")
COMPATIBLE = "compatible"
"""Provider of a model that is given by its URL: any server that speaks OpenAI's protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Who answers, how it is reached, and where its key is looked for."""

    name: str
    title: str
    key_variable: str
    """Environment variable that holds the key."""
    needs_key: bool = True
    base_url_variable: str = ""
    base_url: str = ""
    """Where it is reached unless something else is said; empty: its library knows."""
    is_local: bool = False
    """Runs on the user's own machine: it costs nothing."""


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider(
            name="anthropic",
            title="Anthropic",
            key_variable="ANTHROPIC_API_KEY",
            base_url_variable="ANTHROPIC_BASE_URL",
        ),
        Provider(
            name="openai",
            title="OpenAI",
            key_variable="OPENAI_API_KEY",
            base_url_variable="OPENAI_BASE_URL",
        ),
        Provider(
            name="google",
            title="Google",
            key_variable="GOOGLE_API_KEY",
            base_url_variable="GOOGLE_BASE_URL",
        ),
        Provider(
            name="mistral",
            title="Mistral",
            key_variable="MISTRAL_API_KEY",
            base_url_variable="MISTRAL_BASE_URL",
        ),
        Provider(
            name="ollama",
            title="Ollama",
            base_url_variable="OLLAMA_BASE_URL",
            base_url="http://127.0.0.1:11434/v1",
            key_variable="OLLAMA_API_KEY",
            needs_key=False,
            is_local=True,
        ),
        Provider(
            name="llamacpp",
            title="llama.cpp",
            base_url_variable="LLAMACPP_BASE_URL",
            base_url="http://127.0.0.1:8080/v1",
            key_variable="LLAMACPP_API_KEY",
            needs_key=False,
            is_local=True,
        ),
        Provider(
            name=COMPATIBLE,
            title="OpenAI-compatible server",
            key_variable="LUMINAGUARD_MODEL_KEY",
            needs_key=False,
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelName:
    """A provider, one of its models, and for a server its URL."""

    provider: Provider
    model: str
    base_url: str = ""

    def __str__(self) -> str:
        """As the user wrote it."""
        if self.base_url:
            return f"{self.base_url}#{self.model}" if self.model else self.base_url
        return f"{self.provider.name}:{self.model}"


def parse_name(text: str) -> ModelName:
    """Read `provider:model`, or `http://host:port/v1#model`.

    Raises:
        ModelError: it names no model.
    """
    kind, separator, rest = text.partition(":")
    if kind in URL_SCHEMES:
        return _from_url(text)
    provider = PROVIDERS.get(kind)
    if provider is None or not separator or not rest or provider.name == COMPATIBLE:
        raise ModelError(f"unknown model {text!r}", hint=HOW_TO_NAME)
    return ModelName(provider=provider, model=rest)


def _from_url(text: str) -> ModelName:
    url, _, model = text.partition("#")
    parts = urlsplit(url)
    if not parts.hostname:
        raise ModelError(f"{text!r} is not the URL of a server", hint=HOW_TO_NAME)
    if parts.username or parts.password:
        raise ModelError(
            "a key in a URL ends up in records and on screens",
            hint=f"set it as {PROVIDERS[COMPATIBLE].key_variable}",
        )
    return ModelName(
        provider=PROVIDERS[COMPATIBLE], model=model or "default", base_url=url.rstrip("/")
    )


HOW_TO_NAME = (
    f"write {', '.join(f'{name}:MODEL' for name in PROVIDERS if name != COMPATIBLE)}, "
    "the URL of a server that speaks OpenAI's protocol (http://host:port/v1#MODEL), "
    f"or {SCRIPTED}:FILE"
)
