"""`[model]` and `[providers.NAME]` of the configuration."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """`[model]`: which model works, and how long it is waited for."""

    name: str = ""
    """`provider:model`, the URL of a server, or `scripted`."""
    fallback: tuple[str, ...] = ()
    """Models that go on where the one before cannot, in this order."""
    timeout_s: float = field(default=600.0, metadata={"range": (1.0, 3600.0)})
    """For one whole reply."""
    attempts: int = field(default=5, metadata={"range": (1, 20)})
    """How often one model is asked before its error counts."""
    max_output_tokens: int = field(default=16_384, metadata={"range": (256, 1_000_000)})
    prompt_file: str = ""
    """The system prompt to use instead of LuminaGuard's own; {workspace} in it is the project."""
    max_cost_usd: float = field(default=0.0, metadata={"range": (0.0, 1_000_000.0)})
    """For one task; 0: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """`[providers.NAME]`: how one provider is reached."""

    base_url: str = ""
    """Instead of the provider's own: a proxy, a gateway, a server of yours."""
    key_command: str = ""
    """Prints the key, as password managers do; run without a shell."""
