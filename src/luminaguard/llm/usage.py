"""What a model used, and what that costs."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and money of one reply, or of several added up."""

    input_tokens: int = 0
    """All that was sent, parts from the provider's cache included."""
    output_tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    """None: unknown, because no price is known or the provider did not say what was used."""

    def __add__(self, other: "Usage") -> "Usage":
        """Return both together; unknown costs stay unknown."""
        unknown = self.cost_usd is None or other.cost_usd is None
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=None if unknown else (self.cost_usd or 0) + (other.cost_usd or Decimal(0)),
        )

    @property
    def tokens(self) -> int:
        """Sent and received."""
        return self.input_tokens + self.output_tokens

    def as_json(self) -> dict[str, int | str | None]:
        """Return the public JSON form; money is text, exact, in US dollars."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": None if self.cost_usd is None else str(self.cost_usd),
        }

    @property
    def text(self) -> str:
        """In words for people, such as "12,300 tokens in, 800 out, $0.05"."""
        return (
            f"{self.input_tokens:,} tokens in, {self.output_tokens:,} out, "
            f"{money_text(self.cost_usd)}"
        )


def money_text(cost_usd: Decimal | None) -> str:
    """Return an amount as people read it; never rounded down to nothing."""
    if cost_usd is None:
        return "cost unknown"
    if 0 < cost_usd < Decimal("0.01"):
        return "less than $0.01"
    return f"${cost_usd:,.2f}"
