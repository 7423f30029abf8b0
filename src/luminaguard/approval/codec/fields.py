"""Reading JSON that anybody may have written: every field typed and bounded, or refused."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import TypeVar, cast

from luminaguard.domain.calls import JsonValue
from luminaguard.errors import ApprovalError

LONGEST_TEXT = 1 << 26
"""Characters of one text; what holds the JSON bounds it further."""
MOST_ITEMS = 1_000_000
LARGEST_NUMBER = 2**63 - 1

_Choice = TypeVar("_Choice", bound=StrEnum)
_Read = TypeVar("_Read")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Malformed(ApprovalError):
    """What was read does not have the form that it should have."""

    code = "approval-malformed"


class Fields:
    """One JSON object that is taken apart field by field.

    Each method raises `Malformed`, naming the field, when it is missing, of another type, or
    beyond its bounds. With a `default` a missing field is no error.
    """

    def __init__(self, value: object, name: str = "") -> None:
        if not isinstance(value, Mapping):
            raise Malformed(f"{name or 'it'} is not an object")
        self._fields = cast("Mapping[str, object]", value)
        self._name = name

    def has(self, name: str) -> bool:
        """Say whether the field is there and not null."""
        return self._fields.get(name) is not None

    def text(self, name: str, *, longest: int = LONGEST_TEXT, default: str | None = None) -> str:
        """Return a text of at most `longest` characters."""
        value = self._value(name, default)
        if not isinstance(value, str) or len(value) > longest:
            raise self._bad(name, f"a text of at most {longest:,} characters")
        return value

    def optional_text(self, name: str, *, longest: int = LONGEST_TEXT) -> str | None:
        """Return a text, None where it is missing or null."""
        return self.text(name, longest=longest) if self.has(name) else None

    def digest(self, name: str) -> str:
        """Return a SHA-256, hexadecimal."""
        value = self.text(name, longest=64)
        if not _DIGEST.fullmatch(value):
            raise self._bad(name, "a SHA-256")
        return value

    def integer(
        self, name: str, *, low: int = 0, high: int = LARGEST_NUMBER, default: int | None = None
    ) -> int:
        """Return a whole number from `low` to `high`."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._bad(name, f"a whole number from {low} to {high}")
        return value

    def number(self, name: str) -> float:
        """Return a finite number, not negative."""
        value = self._value(name, None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._bad(name, "a number")
        if not 0 <= value <= LARGEST_NUMBER:
            raise self._bad(name, "a number that is finite and not negative")
        return float(value)

    def flag(self, name: str, *, default: bool | None = None) -> bool:
        """Return true or false."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self._bad(name, "true or false")
        return value

    def choice(self, name: str, kind: type[_Choice]) -> _Choice:
        """Return one of the words of an enumeration."""
        value = self.text(name, longest=100)
        try:
            return kind(value)
        except ValueError:
            raise self._bad(name, f"one of {', '.join(kind)}") from None

    def moment(self, name: str) -> datetime:
        """Return a time that knows its zone."""
        text = self.text(name, longest=64)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self._bad(name, "a time") from None
        if moment.tzinfo is None or moment.isoformat() != text:
            raise self._bad(name, "a time in canonical form, with its zone")
        return moment

    def texts(
        self, name: str, *, most: int = MOST_ITEMS, optional: bool = False
    ) -> tuple[str, ...]:
        """Return a list of texts; with `optional`, none where the field is missing."""
        if optional and name not in self._fields:
            return ()
        values = self._list(name, most)
        if not all(isinstance(value, str) for value in values):
            raise self._bad(name, "a list of texts")
        return tuple(cast("list[str]", values))

    def items(
        self,
        name: str,
        read: Callable[["Fields"], _Read],
        *,
        most: int = MOST_ITEMS,
        optional: bool = False,
    ) -> tuple[_Read, ...]:
        """Return a list of objects, each read by `read`."""
        if optional and name not in self._fields:
            return ()
        return tuple(read(Fields(value, name)) for value in self._list(name, most))

    def below(self, name: str) -> "Fields":
        """Return the fields of an object in this one."""
        return Fields(self._value(name, None), name)

    def mapping(self, name: str) -> Mapping[str, JsonValue]:
        """Return an object as it is."""
        value = self._value(name, None)
        if not isinstance(value, dict):
            raise self._bad(name, "an object")
        return cast("dict[str, JsonValue]", value)

    def words(self, name: str) -> dict[str, str]:
        """Return an object that has nothing but texts."""
        value = self.mapping(name)
        if not all(isinstance(word, str) for word in value.values()):
            raise self._bad(name, "an object of texts")
        return cast("dict[str, str]", dict(value))

    def _list(self, name: str, most: int) -> list[object]:
        value = self._value(name, None)
        if not isinstance(value, list) or len(cast("list[object]", value)) > most:
            raise self._bad(name, f"a list of at most {most:,}")
        return cast("list[object]", value)

    def _value(self, name: str, default: object) -> object:
        value = self._fields.get(name, default)
        if value is None:
            raise self._bad(name, "there")
        return value

    def _bad(self, name: str, expected: str) -> Malformed:
        where = f"{self._name}.{name}" if self._name else name
        return Malformed(f"{where} is not {expected}")


def parsed(content: bytes, *, longest_bytes: int) -> object:
    """Return the JSON value of some bytes.

    Raises:
        Malformed: they are too many, or not strictly JSON.
    """
    if len(content) > longest_bytes:
        raise Malformed(f"{len(content):,} bytes are more than {longest_bytes:,}")
    try:
        text = content.decode("utf-8", "surrogatepass")
        return cast("object", json.loads(text, parse_constant=_refuse))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"it is not JSON: {error}") from error


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")
