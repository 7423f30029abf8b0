"""The provider library's errors as ours."""

from pydantic_ai import exceptions as theirs

from luminaguard.domain.visible import visible
from luminaguard.errors import (
    ContextTooLong,
    ModelAnswerBroken,
    ModelAuthError,
    ModelError,
    ModelNotFound,
    ModelOverloaded,
    ModelQuotaSpent,
    ModelRateLimited,
    ModelRefused,
    ModelTimedOut,
    ModelUnreachable,
)
from luminaguard.llm.keys import Key
from luminaguard.llm.names import ModelName

SHOWN_CHARS = 300
"""Of a provider's own words; they are foreign text."""

_KINDS: tuple[tuple[type[Exception], type[ModelError], str], ...] = (
    (theirs.ModelAuthenticationError, ModelAuthError, "check the key and what it may use"),
    (theirs.ModelNotFoundError, ModelNotFound, "check the model's name and the server's URL"),
    (theirs.ModelContextWindowExceededError, ContextTooLong, "start anew, with a smaller task"),
    (theirs.ModelQuotaExceededError, ModelQuotaSpent, "check the account at the provider"),
    (theirs.ModelRateLimitError, ModelRateLimited, "wait, or name a fallback model"),
    (theirs.ModelUnavailableError, ModelOverloaded, "wait, or name a fallback model"),
    (theirs.ModelServerError, ModelOverloaded, "wait, or name a fallback model"),
    (theirs.ModelTimeoutError, ModelTimedOut, "raise timeout_s under [model]"),
    (theirs.ModelRequestTimeout, ModelTimedOut, "raise timeout_s under [model]"),
    (theirs.ModelConnectionError, ModelUnreachable, "check the network and the server's URL"),
    (theirs.ContentFilterError, ModelRefused, "say the task in other words"),
    (theirs.OutputTokenLimitExceeded, ModelAnswerBroken, "raise max_output_tokens under [model]"),
    (theirs.UnexpectedModelBehavior, ModelAnswerBroken, ""),
)


def failure(error: Exception, name: ModelName, key: Key | None) -> ModelError:
    """Return our error for one of the library's; the key is taken out of its words."""
    said = str(error)
    if isinstance(error, theirs.ModelHTTPError):
        said = f"{error.status_code}: {error.body}"
    shown = visible(key.taken_out_of(said) if key else said)
    if len(shown) > SHOWN_CHARS:
        shown = f"{shown[:SHOWN_CHARS]}… (+{len(shown) - SHOWN_CHARS})"
    after_s = getattr(error, "retry_after", None)
    for theirs_kind, ours, hint in _KINDS:
        if isinstance(error, theirs_kind):
            return ours(f"{name}: {shown}", hint=hint or None, retry_after_s=after_s)
    if isinstance(error, theirs.ModelAPIError) and not isinstance(error, theirs.ModelHTTPError):
        return ModelAnswerBroken(f"{name}: {shown}")  # a good status, and nothing to be made of it
    return ModelError(f"{name}: {shown}", retry_after_s=after_s)
