"""The table of consent-first: loading refuses what is not a decision table, and every case ends as behaviour.md section 3 says.

Each row of the page is stated here by enumeration of all the cases it speaks of, from the page and not from the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tasks import rules
from tasks.connector import SetupError

Case = dict[str, object]
NOT_DELETED = ("subscribed", "pending", "not_subscribed", "unsubscribed", "absent")


def cases(policy: pl.DataFrame, which: Callable[[Case], bool]) -> list[Case]:
    found = [case for case in policy.iter_rows(named=True) if which(case)]
    assert found, "the page speaks of no case"
    return found


def outcomes(found: list[Case]) -> set[tuple[object, object]]:
    """What both sides hold in the end: `keep` is what they hold already."""
    return {
        (
            case["esp"] if case["set_esp"] == "keep" else case["set_esp"],
            case["shop"] if case["set_shop"] == "keep" else case["set_shop"],
        )
        for case in found
    }


def test_every_case_is_decided_exactly_once(policy: pl.DataFrame) -> None:
    assert policy.height == math.prod(len(values) for values in rules.DOMAINS.values()) == 864
    assert not policy.select(pl.struct(*rules.DOMAINS).is_duplicated().any()).item()
    assert policy.filter(pl.any_horizontal(pl.all().is_null())).is_empty()


def is_newer_in(case: Case) -> bool:
    """The opt-in of one side is newer than the opt-out of the other."""
    wanted = {"subscribed": "shop_newer", "unsubscribed": "esp_newer"}[str(case["shop"])]
    return case["time_order"] == wanted


def disagree(case: Case) -> bool:
    return {case["shop"], case["esp"]} == {"subscribed", "unsubscribed"}


def ongoing(case: Case) -> bool:
    return case["phase"] == "ongoing"


def only_moved(case: Case, side: str) -> bool:
    other = {"shop": "esp", "esp": "shop"}[side]
    return bool(case[f"{side}_moved"]) and not case[f"{other}_moved"]


def moved_to_an_opt_in(case: Case) -> bool:
    """One side says subscribed, the other unsubscribed, and only the first has moved."""
    return ongoing(case) and disagree(case) and only_moved(case, "shop" if case["shop"] == "subscribed" else "esp")


def both_moved(case: Case) -> bool:
    return ongoing(case) and disagree(case) and bool(case["shop_moved"] and case["esp_moved"])


IN = ("subscribed", "subscribed")
OUT = ("unsubscribed", "unsubscribed")

PAGE: dict[str, tuple[Callable[[Case], bool], set[tuple[object, object]]]] = {
    "1 opted in in the shop, unknown to the ESP: created subscribed": (
        lambda c: c["shop"] == "subscribed" and c["esp"] == "absent",
        {IN},
    ),
    "2 never opted in, unknown to the ESP: created not subscribed": (
        lambda c: c["shop"] == "not_subscribed" and c["esp"] == "absent",
        {("not_subscribed", "not_subscribed")},
    ),
    "3 opted out in the shop, unknown to the ESP: not created": (
        lambda c: c["shop"] == "unsubscribed" and c["esp"] == "absent",
        {("absent", "unsubscribed")},
    ),
    "3 waiting in the shop, unknown to the ESP: not created": (
        lambda c: c["shop"] == "pending" and c["esp"] == "absent",
        {("absent", "pending")},
    ),
    "4 known to the ESP only: kept": (
        lambda c: c["shop"] == "absent" and c["esp"] in NOT_DELETED,
        {(status, "absent") for status in NOT_DELETED},
    ),
    "5 both say the same: kept": (
        lambda c: c["shop"] == c["esp"] and c["shop"] in {"subscribed", "pending", "not_subscribed", "unsubscribed"},
        {IN, OUT, ("pending", "pending"), ("not_subscribed", "not_subscribed")},
    ),
    "6 the shop moved to an opt-out": (
        lambda c: ongoing(c) and c["shop"] == "unsubscribed" and c["esp"] == "subscribed" and only_moved(c, "shop"),
        {OUT},
    ),
    "6 the ESP moved to an opt-out": (
        lambda c: ongoing(c) and c["esp"] == "unsubscribed" and c["shop"] in {"subscribed", "pending"} and only_moved(c, "esp"),
        {OUT},
    ),
    "7 one side moved to an opt-in newer than the other's opt-out": (
        lambda c: moved_to_an_opt_in(c) and is_newer_in(c),
        {IN},
    ),
    "7 the ESP moved to an opt-in, the shop never said anything": (
        lambda c: ongoing(c) and c["shop"] == "not_subscribed" and c["esp"] == "subscribed" and bool(c["esp_moved"]),
        {IN},
    ),
    "8 one side moved to an opt-in that is not newer": (
        lambda c: moved_to_an_opt_in(c) and not is_newer_in(c),
        {OUT},
    ),
    "9 both moved and disagree, the opt-in is newer": (
        lambda c: both_moved(c) and is_newer_in(c),
        {IN},
    ),
    "9 both moved and disagree, the opt-out is newer or unordered": (
        lambda c: both_moved(c) and not is_newer_in(c),
        {OUT},
    ),
    "10 at first, subscribed at the ESP and never opted out in the shop": (
        lambda c: c["phase"] == "first" and c["esp"] == "subscribed" and c["shop"] == "not_subscribed",
        {IN},
    ),
    "11 at first, opted out in the shop, and a newer opt-in at the ESP": (
        lambda c: c["phase"] == "first" and c["shop"] == "unsubscribed" and c["esp"] == "subscribed" and is_newer_in(c),
        {IN},
    ),
    "11 at first, opted out in the shop, not older than the opt-in at the ESP": (
        lambda c: c["phase"] == "first" and c["shop"] == "unsubscribed" and c["esp"] == "subscribed" and not is_newer_in(c),
        {OUT},
    ),
    "12 at first, opted out at the ESP, and a newer opt-in in the shop": (
        lambda c: c["phase"] == "first" and c["shop"] == "subscribed" and c["esp"] == "unsubscribed" and is_newer_in(c),
        {IN},
    ),
    "12 at first, opted out at the ESP, not older than the opt-in in the shop": (
        lambda c: c["phase"] == "first" and c["shop"] == "subscribed" and c["esp"] == "unsubscribed" and not is_newer_in(c),
        {OUT},
    ),
    "13 opted in in the shop, never at the ESP": (
        lambda c: c["shop"] == "subscribed" and c["esp"] == "not_subscribed",
        {IN},
    ),
    "13a opted out at the ESP, never said anything in the shop": (
        lambda c: c["shop"] == "not_subscribed" and c["esp"] == "unsubscribed",
        {OUT},
    ),
    "13b opted out in the shop, never said anything at the ESP": (
        lambda c: c["shop"] == "unsubscribed" and c["esp"] == "not_subscribed",
        {OUT},
    ),
    "14 waiting in the shop, no opt-out: wait": (
        lambda c: c["shop"] == "pending" and c["esp"] in {"subscribed", "pending", "not_subscribed"},
        {("subscribed", "pending"), ("pending", "pending"), ("not_subscribed", "pending")},
    ),
    "14 waiting at the ESP, no opt-out: wait": (
        lambda c: c["esp"] == "pending" and c["shop"] in {"subscribed", "pending", "not_subscribed"},
        {("pending", "subscribed"), ("pending", "pending"), ("pending", "not_subscribed")},
    ),
    "15 deleted in the shop: archived": (
        lambda c: c["shop"] == "deleted" and bool(c["shop_moved"]) and c["esp"] in {"subscribed", "not_subscribed", "pending"},
        {("archived", "deleted")},
    ),
    "15 deleted in the shop, opted out at the ESP: stays as it is": (
        lambda c: c["shop"] == "deleted" and c["esp"] == "unsubscribed",
        {("unsubscribed", "deleted")},
    ),
    "16 deleted at the ESP: not created again, kept in the shop": (
        lambda c: c["esp"] == "deleted",
        {("deleted", shop) for shop in rules.DOMAINS["shop"]},
    ),
}


@pytest.mark.parametrize("row", PAGE)
def test_a_row_of_the_page(policy: pl.DataFrame, row: str) -> None:
    which, wanted = PAGE[row]
    assert outcomes(cases(policy, which)) == wanted


def test_what_was_settled_and_did_not_move_stays_as_the_times_say(policy: pl.DataFrame) -> None:
    """The page is silent where neither side moved: then the last settled decision must not be turned round."""
    still = cases(policy, lambda c: c["phase"] == "ongoing" and disagree(c) and not c["shop_moved"] and not c["esp_moved"])
    for case in still:
        ends = outcomes([case]).pop()
        if is_newer_in(case):
            assert ends[0] == "subscribed", case
        else:
            assert ends == OUT, case
    assert outcomes(cases(policy, lambda c: c["shop"] == "deleted" and not c["shop_moved"] and c["esp"] == "subscribed")) == {
        ("subscribed", "deleted")
    }


def test_nobody_becomes_subscribed_without_an_opt_in_newer_than_the_opt_out(policy: pl.DataFrame) -> None:
    """12.1, over all cases."""
    for case in policy.iter_rows(named=True):
        becomes_in = (case["set_esp"] == "subscribed" and case["esp"] != "subscribed") or (
            case["set_shop"] == "subscribed" and case["shop"] != "subscribed"
        )
        if becomes_in:
            assert "subscribed" in {case["shop"], case["esp"]}, case
            if "unsubscribed" in {case["shop"], case["esp"]}:
                assert is_newer_in(case), case


def test_an_opt_out_of_one_side_never_leaves_the_other_subscribed(policy: pl.DataFrame) -> None:
    """12.1 and 12.2, over all cases: unless an opt-in is newer, whatever a phase or a move says."""
    for case in policy.iter_rows(named=True):
        if "unsubscribed" not in {case["shop"], case["esp"]} or (disagree(case) and is_newer_in(case)):
            continue
        esp, shop = outcomes([case]).pop()
        assert esp != "subscribed", case
        assert shop != "subscribed", case


def test_nobody_who_was_deleted_or_archived_is_made_again(policy: pl.DataFrame) -> None:
    for case in policy.iter_rows(named=True):
        if case["esp"] == "deleted":
            assert (case["set_esp"], case["set_shop"]) == ("keep", "keep"), case
        if case["shop"] == "deleted":
            assert case["set_esp"] in {"keep", "archived"}, case
            assert case["set_shop"] == "keep", case


def test_nobody_is_archived_but_for_a_deletion_in_the_shop(policy: pl.DataFrame) -> None:
    assert policy.filter(pl.col("set_esp") == "archived")["shop"].unique().to_list() == ["deleted"]
    assert policy.filter((pl.col("set_esp") == "archived") & (pl.col("esp") == "unsubscribed")).is_empty()


def test_every_line_has_an_id_of_its_own_and_a_sentence(policy: pl.DataFrame) -> None:
    lines = pl.read_csv(rules.POLICIES / "consent-first.csv", infer_schema=False)
    assert lines["rule"].is_unique().all()
    assert lines["sentence"].str.ends_with(".").all()
    assert lines.height <= 45  # a merchant reads it
    assert set(policy["rule"]) == set(lines["rule"])


# What loading refuses.

HEAD = "precedence,rule,phase,shop,shop_moved,esp,esp_moved,time_order,set_esp,set_shop,sentence"
ALL = "50,1,*,*,*,*,*,*,keep,keep,Nothing is done."


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., pl.DataFrame]:
    def from_lines(*lines: str) -> pl.DataFrame:
        table = tmp_path / "mine.csv"
        table.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return rules.load_policy(str(table))

    return from_lines


def test_a_table_of_the_merchants_own_is_read(load: Callable[..., pl.DataFrame]) -> None:
    assert load(HEAD, ALL).height == 864


def test_a_lower_precedence_number_wins(load: Callable[..., pl.DataFrame]) -> None:
    found = load(HEAD, ALL, "10,2,*,unsubscribed,*,subscribed|pending,yes,*,unsubscribed,keep,Out.")
    decided = found.filter(pl.col("rule") == "2")
    assert decided.height == 2 * 2 * 2 * 3
    assert decided["esp_moved"].all()


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([HEAD, ALL.replace(",*,", ",first,", 1)], "432 cases are open"),
        ([HEAD, ALL, ALL.replace("1", "2")], "line 2: another line of the same precedence"),
        ([HEAD, ALL, "50,2,*,absent,*,*,*,*,keep,keep,Twice."], "line 2: another line of the same precedence"),
        ([HEAD, ALL, "60,2,*,absent,*,*,*,*,keep,keep,Never."], "line 3: no case reaches this line"),
        ([HEAD, ALL.replace("*", "unknown", 1)], "line 2: phase must be one of first, ongoing"),
        ([HEAD, ALL, "10,2,*,gone,*,*,*,*,keep,keep,What."], "line 3: shop must be one of"),
        ([HEAD, ALL, "10,2,*,absent,*,*,*,*,subscribe,keep,What."], "line 3: set_esp must be one of"),
        ([HEAD, ALL, "10,2,*,absent,*,*,*,*,keep,*,What."], "line 3: set_shop must be one of"),
        ([HEAD, ALL, "10,2,*,absent,*,,*,*,keep,keep,What."], "line 3: esp must be one of"),
        ([HEAD, ALL, "first,2,*,absent,*,*,*,*,keep,keep,What."], "line 3: precedence must be a whole number"),
        ([HEAD.replace("rule,", ""), ALL.replace("1,", "", 1)], "the columns must be precedence, rule, phase"),
        ([HEAD.replace("phase,shop", "shop,phase"), ALL], "the columns must be precedence, rule, phase"),
        ([HEAD, ALL, "10,2,*,absent,*,*,*,*,keep,keep,"], "line 3: rule and sentence must be given"),
        ([HEAD, ALL, "10,2,*,absent,*,*,*,*,keep,keep"], "line 3: rule and sentence must be given"),
        ([HEAD, ALL, "10,2,*,absent,*,*,*,*,keep,keep,Known, and kept."], "is no table with 11 columns"),
        ([], "is no table with 11 columns"),
        ([HEAD], "864 cases are open"),
    ],
)
def test_loading_refuses(load: Callable[..., pl.DataFrame], lines: list[str], problem: str) -> None:
    with pytest.raises(SetupError, match=problem):
        load(*lines)


def test_an_unknown_policy_is_named_with_the_known_ones() -> None:
    with pytest.raises(SetupError, match="no policy 'strict': use one of consent-first"):
        rules.load_policy("strict")
