"""The head of a card: what is asked, where it ran, what came of it."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from luminaguard.approval.card import DiffCard
from luminaguard.approval.look import BADGES, RULES, Look, Style
from luminaguard.approval.rows import Paint, Row, Span
from luminaguard.approval.summary import Summary, headline, kinds_text
from luminaguard.approval.words import argument_words, command_words
from luminaguard.approval.wrap import width
from luminaguard.domain.calls import JsonValue, canonical_json

LISTED = 5
"""Paths of a list that are named in the head; the rest is counted, and named at the end."""

_COMMANDS = frozenset({"argv", "command", "script"})
"""Arguments that are run, not only passed on."""

MARK_WORDS = {"runs-later": "runs later on your host", "link-outside": "link outside"}


def title_row(card: DiffCard, look: Look) -> Row:
    """Return the first line: risk as sign, word and color, and the question."""
    risk = card.risk
    glyphs = look.glyphs
    spans: list[Span] = [
        (RULES[risk], glyphs.heavy * 2 + " "),
        (Style.PLAIN, glyphs.risks[risk] + " "),
        (BADGES[risk], f" {risk.value.upper()} " if look.color else risk.value.upper()),
        (RULES[risk], f" {glyphs.heavy * 2} "),
        (Style.STRONG, question(card) + " "),
    ]
    left = look.columns - sum(width(text) for _, text in spans)
    return Row((*spans, (RULES[risk], glyphs.heavy * max(0, left))), edge=())


def question(card: DiffCard) -> str:
    """Return what a yes would do, as a question."""
    if card.predicted:
        return "let this happen?"
    return "release its output?" if card.changeset.is_empty else "commit exactly this?"


def fact_rows(card: DiffCard, look: Look) -> Iterator[Row]:
    """Yield what ran, why it is asked about, where it ran, under which isolation."""
    yield from call_rows(card, look)
    yield from _verdict_rows(card, look)
    isolation = card.isolation
    yield fact("where", card.request.workspace, look, Style.CYAN)
    if card.request.server is not None:
        yield fact("server", card.request.server, look)
    parts = dict.fromkeys((isolation.tier.value, isolation.backend, isolation.accelerator))
    yield fact("isolation", _dotted(parts, look), look)
    yield fact("jail", ", ".join(isolation.jail.layers) or "none", look)
    for layer, why in isolation.jail.missing.items():
        yield fact("", f"{look.glyphs.warning} missing {layer}: {why}", look, Style.WARNING)
    yield fact("guest", isolation.guest.summary, look)
    yield fact("expires", _expiry(card), look)


def _verdict_rows(card: DiffCard, look: Look) -> Iterator[Row]:
    verdict = card.verdict
    yield from _listed("why asked", verdict.reasons, look)
    yield fact("rules", ", ".join(verdict.rules) or "none", look, Style.QUIET)
    yield from _listed("may change", verdict.changes, look)
    warning = f"{look.glyphs.warning} "
    yield from _listed("network", [f"{warning}may reach {to}" for to in verdict.reaches], look)
    yield from _listed("secrets", [f"{warning}may read {name}" for name in verdict.secrets], look)
    yield from _listed("instead", [f"{call} would run unasked" for call in verdict.instead], look)


def _listed(label: str, lines: Iterable[str], look: Look) -> Iterator[Row]:
    for number, line in enumerate(lines):
        yield fact("" if number else label, line, look)


def everything_rows(card: DiffCard, look: Look) -> Iterator[Row]:
    """Yield what the head leaves out: the exact call, what a yes is bound to, whole lists."""
    request = card.request
    yield fact("lane", card.verdict.lane.value, look)
    yield fact("exact call", card.call.canonical.decode("utf-8", "surrogatepass"), look)
    yield fact("changeset", request.changeset_digest, look)
    yield fact("base", request.base, look)
    yield fact("request", request.digest, look)
    yield fact("session", request.session_id, look)
    yield fact("policy", request.policy_version, look)
    if request.tool_definition is not None:
        yield fact("definition", request.tool_definition, look)
    for label, paths in (
        ("scratch", card.changeset.scratch.examples),
        ("dropped", card.changeset.dropped),
        ("your side", card.host_changes),
        ("left out", card.left_out),
    ):
        for number, path in enumerate(paths):
            yield fact("" if number else label, "", look, after=path)


def call_rows(card: DiffCard, look: Look) -> Iterator[Row]:
    """Yield the tool and its arguments; text arguments line by line, argument lists quoted."""
    arguments = sorted(card.call.arguments.items())
    if len(arguments) == 1 and "\n" not in (only := _argument_text(arguments[0][1])):
        yield _call_row("call", f"{card.call.tool}  ", only, look, command_words)
        return
    yield fact("call", card.call.tool, look, Style.STRONG)
    for name, value in arguments:
        words = command_words if name in _COMMANDS else argument_words
        lines = _argument_text(value).split("\n")
        yield _call_row("", f"{name} = ", lines[0], look, words)
        for line in lines[1:]:
            yield _call_row("", f"{look.glyphs.bar} ", line, look, words)


def _call_row(label: str, before: str, text: str, look: Look, words: Paint) -> Row:
    return Row(
        ((Style.PLAIN, before), (Style.ARGUMENT, text)),
        edge=_label(label, look),
        hang=_label("", look),
        prose=True,
        paint=words,
    )


def _argument_text(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return shlex.join(cast("list[str]", value))
    return canonical_json(value).decode("utf-8", "surrogatepass")


def effect_rows(card: DiffCard, look: Look) -> Iterator[Row]:
    """Yield the measured effect in numbers, and everything that asks for a second look."""
    yield Row(
        headline_spans(card, look), edge=_label("measured", look), hang=_label("", look), prose=True
    )
    if card.summary.uncounted:
        text = f"{card.summary.uncounted:,} of them binary or too large to count lines of"
        yield fact("", text, look, Style.QUIET)
    if card.changeset.is_empty:
        yield fact("", "a yes hands its output to whoever made the call", look)
    yield from _mark_rows(card, look)
    if card.predicted:
        count = _plural(len(card.predicted), "effect")
        text = f"{look.glyphs.warning} and {count} predicted, NOT measured: see below"
        yield fact("", text, look, Style.WARNING)
    yield from _side_rows(card, look)


def _mark_rows(card: DiffCard, look: Look) -> Iterator[Row]:
    """Yield each reason to look twice once, with the paths that it is about."""
    paths: dict[str, list[str]] = {}
    for path, mark in card.marks:
        paths.setdefault(mark.name, []).append(path)
    for name, found in paths.items():
        text = f"{look.glyphs.warning} {MARK_WORDS.get(name, name)}: "
        yield fact("", text, look, Style.WARNING, after=listing(found, look))


def headline_spans(card: DiffCard, look: Look) -> tuple[Span, ...]:
    """Return the effect in one line: paths, kinds, lines."""
    if card.changeset.is_empty:
        return ((Style.STRONG, "no file changes"),)
    text = f"{headline(card.summary)}: {kinds_text(card.changeset)}"
    return ((Style.STRONG, text), (Style.PLAIN, "  "), *line_counts(card.summary, look))


def line_counts(counted: Summary, look: Look) -> tuple[Span, ...]:
    """Return lines added and removed, each with its sign."""
    return (
        (Style.GREEN, f"+{counted.added:,} "),
        (Style.RED, f"{look.glyphs.minus}{counted.removed:,}"),
    )


def _side_rows(card: DiffCard, look: Look) -> Iterator[Row]:
    scratch = card.changeset.scratch
    if scratch.files:
        size = f"{_plural(scratch.files, 'ignored file')}, {size_text(scratch.size_bytes)}"
        names = listing(scratch.examples, look, total=scratch.files)
        yield fact("scratch", f"{size}, not taken back: ", look, after=names)
    if card.changeset.dropped:
        count = _plural(len(card.changeset.dropped), "socket or pipe", "sockets or pipes")
        names = listing(card.changeset.dropped, look)
        yield fact("dropped", f"{count}, not taken back: ", look, after=names)
    if card.host_changes:
        count = _plural(len(card.host_changes), "path")
        text = f"{count} changed on your side meanwhile: "
        yield fact("your side", text, look, Style.WARNING, after=listing(card.host_changes, look))
    if card.left_out:
        text = f"{_plural(len(card.left_out), 'path')} never sent to the guest: "
        yield fact("left out", text, look, after=listing(card.left_out, look))
    yield from _listed("git", card.git, look)


def fact(
    label: str,
    text: str,
    look: Look,
    style: Style = Style.PLAIN,
    *,
    before: str = "",
    after: str = "",
) -> Row:
    """Return a labelled row; further lines stand under its text, never under its label."""
    return Row(
        ((Style.PLAIN, before), (style, text), (Style.CYAN, after)),
        edge=_label(label, look),
        hang=_label("", look),
        prose=True,
    )


def _label(label: str, look: Look) -> tuple[Span, ...]:
    return ((Style.QUIET, f"  {label}".ljust(_label_width(look))),)


def _label_width(look: Look) -> int:
    return 14 if look.columns >= 60 else 13


def listing(paths: Sequence[str], look: Look, *, total: int | None = None) -> str:
    """Return the first few paths in a row; those that are not named are counted."""
    named = paths[:LISTED]
    left = (len(paths) if total is None else total) - len(named)
    more = f" {look.glyphs.more} {left:,} more" if left > 0 else ""
    return ", ".join(shlex.quote(path) if "," in path else path for path in named) + more


def size_text(size: int) -> str:
    """Return a number of bytes, exact below a mebibyte."""
    return _plural(size, "byte") if size < 1 << 20 else f"{size / (1 << 20):,.1f} MiB"


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _dotted(parts: Iterable[str], look: Look) -> str:
    return f" {look.glyphs.dot} ".join(parts)


def _expiry(card: DiffCard) -> str:
    request = card.request
    open_s = round((request.expires_at - request.requested_at).total_seconds())
    open_for = f"{open_s} s" if open_s < 120 else f"{open_s // 60} min"
    at = request.expires_at.astimezone()
    return f"{at:%H:%M:%S}, {open_for} after it was asked; no answer means nothing happens"
