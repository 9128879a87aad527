"""Holds a JSON value against a JSON schema, in bounded time and without fetching anything.

``jsonschema-rs`` does the work, by the draft that ``$schema`` names (2020-12 without one). ``format`` is a remark,
as the standard has it. A reference to an address is never fetched: only what stands in the schema, and the drafts'
own, resolves.

The library holds the interpreter's lock while it checks, cannot be interrupted, and takes exponential time for a
schema that branches in a reference to itself. So the work is bounded before it begins (``schema_cost``), and what
may take long is done in a separate process, which is ended when its time is over.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from core.base.child_process import child_environment, python_command
from core.chat import JsonObject
from core.errors import InvalidRequest
from core.structured.json_repair import json_pointer
from core.structured.schema_cost import cost_of, dictionaries
from core.structured.schema_words import said, shortened, written

if TYPE_CHECKING:
    from jsonschema_rs import FancyRegexOptions, RegexOptions, ValidationError, Validator

log = logging.getLogger(__name__)

LIMIT_S = 10.0
"""Longest a check in a separate process may take, its start (0.2 s) included."""

MAX_PROBLEMS = 10
"""As many as a model is told at once, and a person reads."""

MAX_SCHEMA_DEPTH = 100
"""Objects and lists inside each other; far below what Python, an SDK or a grammar compiler can take."""

MAX_STEPS = 5_000_000
"""Work done here to say yes or no: 0.1 µs a step, or 0.4 for a text that is matched with a pattern (measured)."""

MAX_STEPS_TO_EXPLAIN = 50_000
"""Work done here to say what is wrong: the library makes every error before it gives the first, 13 µs each."""

MAX_CHAIN = 500
"""Checks inside each other done here: each takes up to 800 bytes of stack, and a thread may have only 512 KiB."""

MAX_HEAVY_TEXT_CHARS = 2_000
"""Longest text matched here with a pattern that is large or backtracks: 70 µs a character at worst (measured)."""

_LIGHT_PATTERN_BYTES = 10_000
"""Compiled size of a pattern that takes 0.8 µs a character at worst, which any text can be matched with here."""

_HEAVY_PATTERNS_BYTES = 20_000_000
"""Compiled size of all patterns of a schema together."""

_BACKTRACKS_HERE = 10_000
_BACKTRACKS_IN_CHILD = 1_000_000
_CHILD_STACK_BYTES = 256 * 1024 * 1024
_CHILD_MEMORY_BYTES = 2 * 1024 * 1024 * 1024

_DRAFTS = frozenset(
    {
        "http://json-schema.org/draft-04/schema",
        "http://json-schema.org/draft-06/schema",
        "http://json-schema.org/draft-07/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "https://json-schema.org/draft/2020-12/schema",
    }
)
_NOT_SUBSCHEMAS = frozenset({"const", "enum", "default", "examples"})
_NAMED_PARTS = frozenset({"properties", "$defs", "definitions", "dependentSchemas", "dependencies"})
_LENGTHS = (("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties"))
_REMARKS = frozenset({"contentEncoding", "contentMediaType"})
"""The library checks these by draft 7 and below, where the standard only allows it."""

_PATTERN_SPELLINGS = re.compile(r"\\(.)", re.DOTALL)
_SPELLED = {"<": "<", ">": ">", "Z": r"\z"}
"""Escapes of Python's ``re`` that the library reads otherwise, or not at all."""

_QUOTED = re.compile(r"'([^']*)'")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaCheck:
    """``problems`` are sentences "at /path: what", none where the value matches.

    ``unchecked``: no check was possible, so ``problems`` say why, and asking for another value would not help.
    """

    problems: tuple[str, ...] = ()
    unchecked: bool = False


class _Unchecked(Exception):
    """No check is possible; the message is told."""


class _PatternTooSlow(Exception):
    """A pattern backtracks more often than is allowed here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compiled:
    """``matcher`` is there where a pattern is large or backtracks: it matches each of a list of texts with all."""

    validator: Validator
    matcher: Validator | None = None


def check_value(value: Any, schema: JsonObject) -> SchemaCheck:
    """Check ``value``, which was read from JSON, against ``schema``. Blocks for up to ``LIMIT_S`` seconds.

    What may take long is checked in a separate process, which is ended when it takes too long.
    """

    def check() -> SchemaCheck:
        prepared = _prepared(schema)
        problems = _problems_here(value, prepared)
        return _check_in_child(value, prepared) if problems is None else SchemaCheck(problems=problems)

    return _told(check)


def check_schema(schema: object, what: str = "The JSON schema") -> None:
    """Check that ``schema`` is JSON and a valid JSON schema (draft 2020-12 unless it names another).

    Raises:
        InvalidRequest: it is not, it is nested too deeply, a length in it is one that nothing has, or it refers to
            what is not in it, so that no answer could be checked; the message begins with ``what`` and says where
            and why.
    """
    if not isinstance(schema, dict):
        raise InvalidRequest(
            f"{what} isn't an object.", hint='Start with {"type": "object", ...}; nothing was sent.'
        )
    read = _as_json(cast("dict[Any, Any]", schema), what)
    problem = _malformed(read)
    if problem:
        is_whole = problem.startswith(":")
        raise InvalidRequest(
            f"{what} is malformed{'' if is_whole else ' '}{problem}.",
            hint="Mend the schema; nothing was sent.",
        )
    _require_room(read, what)


def _require_room(schema: dict[str, Any], what: str) -> None:
    """Refuse a length that nothing can have. llama.cpp, told to make one, takes memory until there is none left.

    Raises:
        InvalidRequest: a least length is above the greatest.
    """
    for part in dictionaries(schema):
        for least, most in _LENGTHS:
            low, high = part.get(least), part.get(most)
            if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
                raise InvalidRequest(
                    f"{what} can't be matched: {least} {low} is above {most} {high}.",
                    hint="Mend the schema; nothing was sent.",
                )


def _as_json(schema: dict[Any, Any], what: str) -> dict[str, Any]:
    """Return ``schema`` as a server will read it.

    Raises:
        InvalidRequest: it cannot be written as JSON.
    """
    too_deep = InvalidRequest(
        f"{what} has more than {MAX_SCHEMA_DEPTH} levels.", hint="Make it flatter; nothing was sent."
    )
    try:
        read: dict[str, Any] = json.loads(json.dumps(schema, allow_nan=False))
    except RecursionError:
        raise too_deep from None
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            f"{what} isn't JSON: {shortened(str(error))}.",
            hint="Use text, numbers, true, false, null, lists and objects only; nothing was sent.",
        ) from error
    level: list[Any] = [read]
    for _ in range(MAX_SCHEMA_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise too_deep
    return read


def _inside(value: Any) -> list[Any]:
    """Return the objects and lists directly in ``value``."""
    items = list(cast("dict[str, Any]", value).values()) if isinstance(value, dict) else value
    return [item for item in cast("list[Any]", items) if isinstance(item, dict | list)]


def _malformed(schema: dict[str, Any]) -> str:
    """Say where ``schema`` is wrong and why, in words that follow "is malformed"; empty if it is not."""
    from jsonschema_rs import ValidationError, ValidationErrorKind

    if not isinstance(schema.get("$schema", ""), str):
        return "at /$schema: it is the address of a draft, as text"
    try:
        _compile(_prepared(schema), _BACKTRACKS_HERE)
    except ValidationError as error:
        is_dead = isinstance(error.kind, ValidationErrorKind.Referencing)
        return _dead_reference(error) if is_dead else _misplaced(error)
    except (ValueError, RecursionError) as error:
        return f"in a way that can't be told: {shortened(str(error))}"
    return ""


def _dead_reference(error: ValidationError) -> str:
    return (
        f": it refers to {shortened(_reference(error.message))!r}, which is not in it, and nothing is fetched"
    )


def _misplaced(error: ValidationError) -> str:
    """Say what of a schema the library refuses."""
    where = json_pointer(error.instance_path)
    if isinstance(error.instance, dict | list):
        return f"at {where}: {said(error)}"
    return f"at {where}: {shortened(written(error.instance))} is not allowed, {said(error)}"


def _told(check: Callable[[], SchemaCheck]) -> SchemaCheck:
    """Return what ``check`` finds, or why it could not be done."""
    from jsonschema_rs import ValidationError, ValidationErrorKind

    try:
        return check()
    except _Unchecked as error:
        return SchemaCheck(problems=(str(error),), unchecked=True)
    except ValidationError as error:
        if isinstance(error.kind, ValidationErrorKind.Referencing):
            return _at_fault(_dead_reference(error).removeprefix(": "))
        return _at_fault(f"it is malformed {_misplaced(error)}")
    except RecursionError:
        return _at_fault("it, or the answer, is nested too deeply to be checked")
    except Exception as error:
        if "Recursion limit" in str(error):
            return _at_fault("it, or the answer, is nested too deeply to be checked")
        # A schema is a caller's text; what the library makes of a malformed one must not end the request.
        log.warning("a JSON schema could not be checked", exc_info=True)
        return _at_fault(f"{type(error).__name__}: {shortened(str(error))}")


def _at_fault(what: str) -> SchemaCheck:
    return SchemaCheck(problems=(f"the schema can't be checked: {what}",), unchecked=True)


def _reference(message: str) -> str:
    """Return the reference that the library's ``message`` says it cannot follow."""
    found = _QUOTED.search(message)
    name = found[1] if found is not None else message
    if message.startswith("Pointer"):
        return f"#{name}"
    return f"#{name}" if message.startswith("Anchor") else name


def _prepared(schema: JsonObject) -> dict[str, Any]:
    """Return a copy that the library reads as the standard and Python's ``re`` mean it."""
    copy = cast("dict[str, Any]", _prepared_part(schema))
    named = copy.get("$schema")
    if isinstance(named, str) and named.rstrip("#") not in _DRAFTS:
        del copy["$schema"]
    return copy


def _prepared_part(part: Any, *, named: bool = False) -> Any:
    """Return a copy of a part; ``named``: it is an object of parts, each under its own name."""
    if isinstance(part, Mapping):
        copy: dict[str, Any] = {}
        for name, inner in cast("JsonObject", part).items():
            if named:
                copy[name] = _prepared_part(inner)
            elif name in _NOT_SUBSCHEMAS:
                copy[name] = inner
            elif name == "pattern" and isinstance(inner, str):
                copy[name] = _respelled(inner)
            elif name == "patternProperties" and isinstance(inner, Mapping):
                rules = cast("JsonObject", inner).items()
                copy[name] = {_respelled(pattern): _prepared_part(rule) for pattern, rule in rules}
            elif name not in _REMARKS:
                copy[name] = _prepared_part(inner, named=name in _NAMED_PARTS)
        if not named and copy.get("additionalProperties") is False:
            copy.setdefault("properties", {})  # without it, the library does not name the fields
        return copy
    if isinstance(part, list | tuple):
        return [_prepared_part(inner) for inner in cast("Iterable[Any]", part)]
    return part


def _respelled(pattern: str) -> str:
    if "\\" not in pattern:
        return pattern
    return _PATTERN_SPELLINGS.sub(lambda found: _SPELLED.get(found[1], found[0]), pattern)


def _compile(prepared: dict[str, Any], backtracks: int) -> _Compiled:
    """Compile a schema, its patterns for the engine that takes linear time where they can be.

    Raises:
        ValidationError: the schema is malformed, or a reference leads to what is not in it.
    """
    from jsonschema_rs import FancyRegexOptions, RegexOptions, ValidationError, ValidationErrorKind

    patterns: dict[str, None] = {}
    for part in dictionaries(prepared):
        rules = part.get("patternProperties")
        names = [part.get("pattern"), *(cast("JsonObject", rules) if isinstance(rules, dict) else ())]
        patterns.update((name, None) for name in names if isinstance(name, str))
    try:
        light = RegexOptions(size_limit=_LIGHT_PATTERN_BYTES)
        return _Compiled(validator=_validator(prepared, light))
    except ValidationError as error:
        if not patterns or not isinstance(error.kind, ValidationErrorKind.Format):
            raise
    each = _HEAVY_PATTERNS_BYTES // max(2, len(patterns))
    options = FancyRegexOptions(backtrack_limit=backtracks, size_limit=each)
    validator = _validator(prepared, options)
    rules = [{"pattern": pattern} for pattern in patterns]
    return _Compiled(validator=validator, matcher=_validator({"items": {"allOf": rules}}, options))


def _validator(prepared: dict[str, Any], options: FancyRegexOptions | RegexOptions) -> Validator:
    import jsonschema_rs

    def compiled(schema: dict[str, Any]) -> Validator:
        return jsonschema_rs.validator_for(
            schema, validate_formats=False, retriever=_refuse, pattern_options=options, mask="it"
        )

    try:
        return compiled(prepared)
    except jsonschema_rs.ValidationError:
        raise
    except ValueError as error:
        if "UTF-8" not in str(error):
            raise
        return compiled(_whole_characters(prepared))


def _refuse(address: str) -> Any:
    """Fetch nothing. Without this, the library reads files and asks servers."""
    raise ValueError(f"{address} is not fetched")


def _whole_characters(value: Any) -> Any:
    """Return ``value`` with U+FFFD for each half of a surrogate pair: Rust's texts are UTF-8, which has none."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _problems_here(value: Any, prepared: dict[str, Any]) -> tuple[str, ...] | None:
    """Return what is wrong with ``value``, ``None`` where it may take long to find that out."""
    compiled = _compile(prepared, _BACKTRACKS_HERE)
    cost = cost_of(prepared, value)
    if cost.chain > MAX_CHAIN or cost.steps > MAX_STEPS:
        return None
    if compiled.matcher is not None and cost.text_chars > MAX_HEAVY_TEXT_CHARS:
        return None
    try:
        return _problems(compiled, value, explain=cost.steps <= MAX_STEPS_TO_EXPLAIN)
    except _PatternTooSlow:
        return None


def _problems(compiled: _Compiled, value: Any, *, explain: bool) -> tuple[str, ...] | None:
    """Return what is wrong with ``value``, ``None`` where something is and it may take long to say what.

    Raises:
        _PatternTooSlow: a pattern backtracks too often for one of the texts.
    """
    try:
        valid = compiled.validator.is_valid(value)
    except UnicodeEncodeError:
        value = _whole_characters(value)
        valid = compiled.validator.is_valid(value)
    if compiled.matcher is not None:
        _require_an_end(compiled.matcher, value)
    if valid:
        return ()
    if not explain:
        return None
    problems: dict[str, None] = {}
    for error in compiled.validator.iter_errors(value):
        problems.setdefault(f"at {json_pointer(error.instance_path)}: {said(error)}")
        if len(problems) == MAX_PROBLEMS:
            break
    return tuple(problems)


def _require_an_end(matcher: Validator, value: Any) -> None:
    """Match each text with each pattern. Inside ``not`` or a field's name, the library takes no end for no match.

    Raises:
        _PatternTooSlow: a match was given up.
    """
    from jsonschema_rs import ValidationErrorKind

    for error in matcher.iter_errors(_texts(value)):
        if isinstance(error.kind, ValidationErrorKind.BacktrackLimitExceeded):
            raise _PatternTooSlow


def _texts(value: Any) -> list[str]:
    """Return all texts and field names in ``value``, each once."""
    found: dict[str, None] = {}
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            found[part] = None
        elif isinstance(part, dict):
            fields = cast("dict[str, Any]", part)
            found |= dict.fromkeys(fields)
            waiting += fields.values()
        elif isinstance(part, list):
            waiting += cast("list[Any]", part)
    return list(found)


def _check_in_child(value: Any, prepared: dict[str, Any]) -> SchemaCheck:
    """Check in a process that is ended after ``LIMIT_S``.

    Raises:
        _Unchecked: it took too long, could not be started, or ended without an answer.
    """
    if getattr(sys, "frozen", False):
        raise _Unchecked(_no_process("this build brings no Python to start it with"))
    question = json.dumps({"value": value, "schema": prepared})
    try:
        child = subprocess.run(
            python_command(__name__),
            input=question,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=LIMIT_S,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            env=child_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _Unchecked(f"the schema can't be checked: that takes more than {LIMIT_S:.0f} s") from None
    except OSError as error:
        log.warning("the process that checks a JSON schema could not be started", exc_info=True)
        raise _Unchecked(_no_process(error.strerror or type(error).__name__)) from None
    try:
        answer = json.loads(child.stdout)
        return SchemaCheck(problems=tuple(answer["problems"]), unchecked=bool(answer["unchecked"]))
    except (ValueError, KeyError, TypeError):
        why = shortened(child.stderr.strip().rpartition("\n")[2])
        log.warning("the process that checks a JSON schema ended with %d: %s", child.returncode, why)
        raise _Unchecked(_no_process(f"it ended with code {child.returncode}")) from None


def _no_process(why: str) -> str:
    return f"the answer could not be checked: that needs a process of its own, which did not work ({why})"


def main() -> int:
    """Answer the one question on standard input, in the separate process; returns the exit code."""
    if sys.platform != "win32":
        import resource

        with contextlib.suppress(ValueError, OSError):  # not every system takes the limit
            resource.setrlimit(resource.RLIMIT_AS, (_CHILD_MEMORY_BYTES, _CHILD_MEMORY_BYTES))
    question = json.loads(sys.stdin.buffer.read())

    def check() -> SchemaCheck:
        compiled = _compile(question["schema"], _BACKTRACKS_IN_CHILD)
        try:
            return SchemaCheck(problems=_problems(compiled, question["value"], explain=True) or ())
        except _PatternTooSlow:
            return _at_fault("its patterns take too long to match")

    def answer() -> None:
        checked = _told(check)
        sys.stdout.write(json.dumps({"problems": checked.problems, "unchecked": checked.unchecked}))

    threading.stack_size(_CHILD_STACK_BYTES)
    thread = threading.Thread(target=answer)
    thread.start()
    thread.join()
    return 0
