"""The user's own prices: what the file may hold, what a bad one costs (nothing), and what a row's version says."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat import Usage
from core.errors import InvalidRequest
from core.ledger.models import LedgerRow
from core.pricing.price_overrides import PRICE_CLASSES, PriceOverridesFile, PricesFileError
from core.pricing.prices import PriceTable

DATED = "claude-sonnet-4-6-20260501"
FAMILY = "claude-sonnet-4-6"
AT = datetime(2026, 11, 1, tzinfo=UTC)
EACH = Usage(
    fresh_input_tokens=1,
    cache_read_tokens=10,
    cache_write_5m_tokens=100,
    cache_write_1h_tokens=1000,
    output_tokens=10_000,
    thinking_tokens=4000,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "prices.json"


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def test_no_file_changes_nothing(path: Path) -> None:
    table = PriceTable(path)
    assert table.cost_nanodollars(DATED, EACH) == PriceTable().cost_nanodollars(DATED, EACH)
    assert table.version == table.version_of(DATED) == PriceTable().version
    assert (table.problems, dict(table.overrides)) == ((), {})
    assert not path.parent.exists()


def test_every_class_has_its_own_exact_price(path: Path) -> None:
    prices = {"input": "1", "cache_read": "2", "cache_write_5m": "3", "cache_write_1h": "4", "output": "5"}
    write(path, {DATED: prices | {"thinking": "6"}})
    expected = 1 * 1 + 10 * 2 + 100 * 3 + 1000 * 4 + 6000 * 5 + 4000 * 6
    assert PriceTable(path).cost_nanodollars(DATED, EACH) == expected * 1000


def test_a_class_without_one_keeps_the_built_in_price(path: Path) -> None:
    write(path, {DATED: {"output": "10"}})
    table = PriceTable(path)
    assert table.cost_nanodollars(DATED, Usage(fresh_input_tokens=1), at=AT) == 3000
    assert table.cost_nanodollars(DATED, Usage(output_tokens=1), at=AT) == 10_000
    assert table.cost_nanodollars(DATED, Usage(output_tokens=1, thinking_tokens=1), at=AT) == 10_000


def test_it_goes_by_the_name_asked_for_or_the_one_the_table_files_it_under(path: Path) -> None:
    write(path, {FAMILY: {"input": "1"}, DATED: {"input": "2"}})
    table = PriceTable(path)
    one = Usage(fresh_input_tokens=1)
    assert table.cost_nanodollars(DATED, one) == 2000
    assert table.cost_nanodollars("claude-sonnet-4-6-20270101", one) == 1000
    assert table.cost_nanodollars("claude-sonnet-4-5", one) == 3000


def test_it_holds_in_every_tier_and_at_every_date(path: Path) -> None:
    write(path, {"claude-sonnet-4-5": {"input": "1"}, FAMILY: {"input": "1"}})
    table = PriceTable(path)
    assert table.cost_nanodollars("claude-sonnet-4-5", Usage(fresh_input_tokens=300_000)) == 300_000_000
    old = datetime(2026, 1, 1, tzinfo=UTC)
    assert table.cost_nanodollars(FAMILY, Usage(fresh_input_tokens=300_000), at=old) == 300_000_000


def test_another_service_tier_keeps_its_own_price(path: Path) -> None:
    write(path, {FAMILY: {"input": "1"}})
    table = PriceTable(path)
    assert table.cost_nanodollars(FAMILY, Usage(fresh_input_tokens=2, service_tier="batch"), at=AT) == 3000
    assert table.cost_nanodollars(FAMILY, Usage(fresh_input_tokens=2, service_tier="priority"), at=AT) is None


def test_a_model_that_nobody_knew_gets_a_price_and_an_unknown_class_stays_unknown(path: Path) -> None:
    write(path, {"llama-local": {"input": "0.5", "output": "1.5", "context_tokens": 8192}})
    table = PriceTable(path)
    for provider in ("anthropic", "vllm-local", "embedded"):
        usage = Usage(fresh_input_tokens=10, cache_read_tokens=10, output_tokens=10, thinking_tokens=5)
        assert table.cost_nanodollars("llama-local", usage, provider=provider) == 25_000
        assert table.context_tokens("llama-local", provider=provider) == 8192
        # Writing to a cache mostly costs more than input: it is not guessed.
        written = Usage(cache_write_5m_tokens=1)
        assert table.cost_nanodollars("llama-local", written, provider=provider) is None
    assert table.worst_case_nanodollars("llama-local", 10, 10) == 20_000
    assert table.worst_case_nanodollars("llama-local", 10, 10, cache_write="5m") is None
    assert table.cost_nanodollars("llama-local", Usage(output_tokens=1), side="local") == 0


def test_what_is_cached_may_be_free(path: Path) -> None:
    write(path, {DATED: {"cache_read": "0"}})
    table = PriceTable(path)
    assert table.cost_nanodollars(DATED, Usage(cache_read_tokens=5), at=AT) == 0
    assert table.version_of(DATED) != PriceTable().version


def test_the_longest_answer_clamps_the_hold(path: Path) -> None:
    write(path, {DATED: {"max_output_tokens": 100}})
    table = PriceTable(path)
    assert table.max_output_tokens_of(DATED) == 100
    assert table.max_output_tokens_of("claude-opus-5") is None
    assert table.worst_case_nanodollars(DATED, 0, 10**6, at=AT) == 100 * 15_000
    assert table.worst_case_nanodollars(DATED, 0, 10**6, max_output_limit=50, at=AT) == 50 * 15_000
    # No price of its own: the version of its rows is the built-in table's.
    assert table.version_of(DATED) == PriceTable().version


def test_the_version_says_which_overrides_were_used_and_where(path: Path) -> None:
    write(path, {DATED: {"input": "1"}})
    table = PriceTable(path)
    base = PriceTable().version
    digest = table.version.removeprefix(f"{base} + overrides ")
    assert len(digest) == 8
    assert int(digest, 16) >= 0
    assert table.version_of(DATED) == table.version
    assert table.version_of("claude-opus-5") == base
    assert table.version_of("claude-nobody-9") == base


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('{ "m": {"output": "2", "input": 1.0} }', True),
        ('{"m": {"input": "1.000", "output": "2"}}', True),
        ('{"m": {"input": "1", "output": "2.000001"}}', False),
        ('{"n": {"input": "1", "output": "2"}}', False),
    ],
)
def test_the_version_names_the_prices_not_their_spelling(path: Path, text: str, same: bool) -> None:
    write(path, '{"m": {"input": "1", "output": "2"}}')
    first = PriceTable(path).version
    write(path, text)
    assert (PriceTable(path).version == first) is same


def test_a_number_without_quotes_is_read_exactly(path: Path) -> None:
    write(path, '{"m": {"input": 0.1, "output": 1e-9}}')
    table = PriceTable(path)
    assert table.overrides["m"].input == Decimal("0.1")
    assert table.cost_nanodollars("m", Usage(output_tokens=10**6)) == 1


def test_a_change_is_seen_within_a_second_and_a_removal_too(path: Path) -> None:
    clock = Clock()
    table = PriceTable(path, clock=clock)
    one = Usage(fresh_input_tokens=1)
    for content, cost in (({DATED: {"input": "1"}}, 1000), ({DATED: {"input": "25"}}, 25_000)):
        before = table.cost_nanodollars(DATED, one, at=AT)
        write(path, content)
        assert table.cost_nanodollars(DATED, one, at=AT) == before
        clock.now += 1
        assert table.cost_nanodollars(DATED, one, at=AT) == cost
    path.unlink()
    table.reload()
    assert table.cost_nanodollars(DATED, one, at=AT) == 3000
    assert table.version == PriceTable().version


BAD_FILES = [
    b"{not json",
    b"[]",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b"null",
    b'{"m": ' + b" " * (1 << 20) + b"{}}",
]


@pytest.mark.parametrize("content", BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_bad_file_is_a_named_problem_and_the_built_in_prices_stay(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    table = PriceTable(path)
    assert table.cost_nanodollars(DATED, EACH, at=AT) == PriceTable().cost_nanodollars(DATED, EACH, at=AT)
    (problem,) = table.problems
    assert str(path) in problem
    assert "built-in prices" in problem
    assert table.version == PriceTable().version
    with pytest.raises(PricesFileError):
        PriceOverridesFile(path).set("m", {"input": "1"})
    assert path.read_bytes() == content


def test_a_folder_in_its_place_is_a_problem(path: Path) -> None:
    path.mkdir(parents=True)
    assert len(PriceTable(path).problems) == 1


BAD_ENTRIES: list[Any] = [
    7,
    "3",
    [],
    {"input": "three"},
    {"input": True},
    {"input": None},
    {"input": "-1"},
    {"input": "0"},
    {"output": 0},
    {"input": "-0.0"},
    {"input": "NaN"},
    {"input": "Infinity"},
    {"input": "1000000.01"},
    {"input": "0.0000000000001"},
    {"inptu": "3"},
    {"context_tokens": 0},
    {"context_tokens": "many"},
    {"max_output_tokens": 1.5},
    {"max_output_tokens": 10**12},
]


@pytest.mark.parametrize("entry", BAD_ENTRIES, ids=str)
def test_a_bad_entry_is_named_and_only_its_model_keeps_the_built_in_prices(path: Path, entry: Any) -> None:
    write(path, {DATED: entry, "other": {"input": "1", "output": "1"}})
    table = PriceTable(path)
    assert table.cost_nanodollars(DATED, EACH, at=AT) == PriceTable().cost_nanodollars(DATED, EACH, at=AT)
    assert table.is_priced("other")
    (problem,) = table.problems
    assert DATED in problem
    assert "keeps its built-in prices" in problem


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*PRICE_CLASSES, "context_tokens", "max_output_tokens", DATED, "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(content=JSON_VALUES | st.binary(max_size=200))
def test_no_content_breaks_the_table(content: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("prices") / "prices.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    table = PriceTable(path)
    cost = table.cost_nanodollars(DATED, Usage(fresh_input_tokens=1), at=AT)
    assert cost is not None
    assert cost >= 0
    assert table.problems or isinstance(content, dict) or content in (b"", {})


@given(
    prices=st.dictionaries(
        st.sampled_from(PRICE_CLASSES),
        st.decimals("0.000000001", 1_000_000, allow_nan=False, allow_infinity=False, places=9),
        min_size=1,
    )
)
def test_what_is_set_is_read_back_exactly(
    prices: dict[str, Decimal], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("prices") / "prices.json"
    PriceOverridesFile(path).set("m", prices)
    read = PriceOverridesFile(path).read()
    assert read.problems == ()
    assert {name: getattr(read.models["m"], name) for name in prices} == prices


def test_setting_keeps_the_other_prices_and_models_even_unusable_ones(path: Path) -> None:
    write(path, {"broken": {"inptu": 3}, "m": {"input": 1.5}})
    file = PriceOverridesFile(path)
    file.set("m", {"output": "2", "context_tokens": 4096})
    stored = json.loads(path.read_text())
    assert stored["broken"] == {"inptu": "3"} or stored["broken"] == {"inptu": 3}
    assert file.read().models["m"].input == Decimal("1.5")
    assert file.read().models["m"].output == 2
    assert file.unset("m") is True
    assert file.unset("m") is False
    assert "broken" in json.loads(path.read_text())
    assert os.stat(path).st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("", {"input": "1"}),
        ("a\nb", {"input": "1"}),
        ("m", {"input": "x"}),
        ("m", {"colour": "1"}),
        ("x" * 300, {"input": "1"}),
    ],
)
def test_what_is_not_allowed_is_not_set(path: Path, model: str, values: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        PriceOverridesFile(path).set(model, values)
    assert not path.exists()


def test_a_price_that_cannot_be_written_is_said_and_the_old_ones_stay(path: Path) -> None:
    write(path, {"m": {"input": "1"}})
    before = path.read_bytes()
    (path.parent / f"{path.name}.lock").mkdir()  # so that nobody can take the lock
    with pytest.raises(PricesFileError, match="cannot be written") as failure:
        PriceOverridesFile(path).set("m", {"input": "2"})
    assert str(path) in failure.value.message
    assert "The prices in it are kept" in (failure.value.hint or "")
    assert path.read_bytes() == before


def test_a_model_knows_whether_its_price_is_the_users_own(path: Path) -> None:
    write(path, {DATED: {"input": "1"}, "claude-opus-5": {"context_tokens": 4096}})
    table = PriceTable(path)
    assert table.has_own_price(DATED)
    assert not table.has_own_price("claude-opus-5")
    assert not table.has_own_price("claude-nobody-9")


def test_the_name_that_came_back_goes_before_the_one_asked_for(path: Path) -> None:
    usage = Usage(fresh_input_tokens=1)
    table = PriceTable(path)
    by_served = table.price(usage, "claude-opus-5", DATED, at=AT)
    assert by_served is not None
    assert (by_served.nanodollars, by_served.model) == (5000, "claude-opus-5")
    renamed = table.price(usage, "claude-renamed-upstream", DATED, at=AT)
    assert renamed is not None
    assert (renamed.nanodollars, renamed.model) == (3000, DATED)
    assert table.price(usage, "claude-renamed-upstream", None, at=AT) is None
    assert table.price(usage, at=AT) is None
    write(path, {"my-alias": {"input": "1", "output": "1"}})
    table.reload()
    own = table.price(usage, DATED, "my-alias", at=AT)
    assert own is not None
    assert (own.nanodollars, own.model, own.version) == (1000, "my-alias", table.version)


def row(**fields: Any) -> LedgerRow:
    names = LedgerRow.__dataclass_fields__
    values: dict[str, Any] = dict.fromkeys(names)
    values |= {"side": "api", "provider": "anthropic", "model": DATED, "started_at": AT}
    return LedgerRow(**(values | fields))


def test_a_row_is_priced_at_its_own_date_by_either_of_its_names(path: Path) -> None:
    write(path, {"new-model": {"input": "1", "output": "2"}})
    table = PriceTable(path)
    usage = Usage(fresh_input_tokens=300_000)
    old = datetime(2026, 1, 1, tzinfo=UTC)
    base = PriceTable().version
    assert table.price_row(row(usage=usage)) == (900_000_000, base)
    assert table.price_row(row(usage=usage, started_at=old)) == (1_800_000_000, base)
    assert table.price_row(row(usage=usage, model="new-model")) == (300_000_000, table.version)
    assert table.price_row(row(usage=usage, model="alias", served_model=DATED)) == (900_000_000, base)
    assert table.price_row(row(usage=usage, model="nobody", served_model="nobody-2")) is None
    assert table.price_row(row(usage=None)) is None
    assert table.price_row(row(usage=usage, side="local", provider="embedded")) is None


def test_prices_are_shown_as_the_tables_write_them(path: Path) -> None:
    write(path, {"new-model": {"input": "0.25", "output": "100"}})
    table = PriceTable(path)
    (prices,) = table.prices_of(DATED, at=AT)
    assert (prices.input, prices.cache_write_5m, prices.web_search) == (3, Decimal("3.75"), Decimal("0.01"))
    below, above = table.prices_of("claude-sonnet-4-5")
    assert (below.above_tokens, above.above_tokens) == (-1, 200_000)
    assert (below.output, above.output) == (15, Decimal("22.5"))
    (own,) = table.prices_of("new-model")
    assert (str(own.input), str(own.output), own.cache_write_1h) == ("0.25", "100", None)
    assert table.prices_of("claude-nobody-9") == ()
    assert {"new-model", "claude-sonnet-4-5"} <= set(table.models())


@pytest.mark.parametrize("content", BAD_FILES, ids=range(len(BAD_FILES)))
def test_while_prices_may_be_missing_nothing_is_spent(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    table = PriceTable(path)
    assert table.closed_for(DATED) == "prices.json can't be used"
    table.set_aside_if_broken()
    aside = path.with_name("prices.json.broken-1")
    assert aside.read_bytes() == content
    for each in (table, PriceTable(path)):  # at every start
        assert each.closed_for(DATED) == "prices.json was set aside"
    aside.unlink()
    table.reload()
    assert table.closed_for(DATED) == ""


@pytest.mark.parametrize("name", [DATED, FAMILY])
def test_a_bad_entry_closes_its_model_alone(path: Path, name: str) -> None:
    write(path, {name: {"input": "three"}})
    table = PriceTable(path)
    assert "can't be used" in table.closed_for(DATED)
    assert table.closed_for("claude-opus-5") == ""
    table.set_aside_if_broken()
    assert path.exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_prices_that_others_may_write_are_not_used(path: Path) -> None:
    write(path, {DATED: {"input": "0.1"}})
    path.chmod(0o666)
    table = PriceTable(path)
    assert dict(table.overrides) == {}
    assert table.closed_for(DATED)
    assert "chmod go-w" in table.problems[0]
    table.set_aside_if_broken()
    path.chmod(0o600)
    table.reload()
    assert table.closed_for(DATED) == ""
