"""The four policies: loading refuses what is not a decision table, and every case of every table ends as behaviour.md says.

Each sentence of sections 3 to 6 is drawn in `pages/`, from the page and not from the table, for all the cases it speaks of.
Where a page is silent, it is as section 3; section 3 leaves no case open.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from tasks import rules
from tasks.connector import SetupError

Case = dict[str, str]
CASES = 3456
FACTS = list(rules.DOMAINS)

PAGES = {page.stem: page for page in (Path(__file__).parent / "pages").glob("*.md")}
ANY = dict.fromkeys(("phase", "moved", "newer", "carried", "chosen", "exception"), "-")


def drawn_rows(page: str) -> list[Case]:
    lines = [line for line in PAGES[page].read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    names, _, *cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [ANY | dict(zip(names, row, strict=True)) for row in cells]


def is_newer_in(case: Case) -> bool:
    """The opt-in of one side is newer than the opt-out of the other."""
    return (case["shop"], case["esp"], case["time_order"]) in {
        ("subscribed", "unsubscribed", "shop_newer"),
        ("unsubscribed", "subscribed", "esp_newer"),
    }


def speaks_of(row: Case, case: Case) -> bool:
    moved = {("yes", "no"): "shop", ("no", "yes"): "esp", ("yes", "yes"): "both", ("no", "no"): "none"}
    facts = {
        **case,
        "moved": moved[case["shop_moved"], case["esp_moved"]],
        "newer": "yes" if is_newer_in(case) else "no",
        "carried": case["shop_carried"],
    }
    return all(
        row[name] == "-" or facts[name] in row[name].split()
        for name in ("phase", "shop", "esp", "moved", "newer", "carried", "chosen")
    )


ENDS = ["end_esp", "end_shop", "exception", "paragraph"]


@cache
def said(page: str) -> pl.DataFrame:
    """What a page says of every case: what both sides hold in the end, by which exception, and where it says so. Its sentences
    stand side by side, so they must agree where two speak of the same case."""
    drawn = drawn_rows(page)
    spoken, found = set(), []
    for case in rules.every_case().iter_rows(named=True):
        speaking = [row for row in drawn if speaks_of(row, case)]
        spoken |= {row["case"] for row in speaking}
        ends = {
            (
                *(row[side].replace("-", case[name]) for side, name in SIDES),
                row["exception"],
                row["case"].split()[0].rstrip("abcdefg"),
            )
            for row in speaking
        }
        assert len(ends) <= 1, (case, ends)
        found += [(*case.values(), *end) for end in ends]
    assert spoken == {row["case"] for row in drawn}, "a sentence speaks of no case"
    page_says = pl.DataFrame(found, schema=[*FACTS, *ENDS], orient="row")
    if page == "consent-first":
        assert page_says.height == CASES, "section 3 leaves a case open"
        return page_says
    return pl.concat([page_says, said("consent-first").join(page_says, on=FACTS, how="anti")])


SIDES = (("ESP", "esp"), ("shops", "shop"))


def in_the_end(expanded: pl.DataFrame) -> pl.DataFrame:
    """What a table comes to: what both sides hold in the end. `keep` is what they hold already."""
    return expanded.select(
        *FACTS,
        "rule",
        end_esp=pl.when(pl.col("set_esp") == "keep").then("esp").otherwise("set_esp"),
        end_shop=pl.when(pl.col("set_shop") == "keep").then("shop").otherwise("set_shop"),
        exception=pl.col("exception").fill_null("-"),
        paragraph=pl.col("rule").str.strip_chars_end("abcdefg"),
    )


@cache
def written(policy: str) -> pl.DataFrame:
    return rules.read_table(rules.POLICIES / f"{policy}.csv")


@cache
def expanded(policy: str) -> pl.DataFrame:
    return rules.expand(written(policy), policy)


each_policy = pytest.mark.parametrize("policy", sorted(PAGES))


def test_every_policy_has_its_page() -> None:
    assert sorted(PAGES) == rules.policies()


@each_policy
def test_every_case_is_decided_exactly_once(policy: str) -> None:
    loaded = rules.load_policy(policy)
    assert loaded.height == math.prod(len(values) for values in rules.DOMAINS.values()) == CASES
    assert not loaded.select(pl.struct(FACTS).is_duplicated().any()).item()
    assert loaded.drop("exception").filter(pl.any_horizontal(pl.all().is_null())).is_empty()


@each_policy
def test_every_case_ends_as_the_page_says(policy: str) -> None:
    wrong = in_the_end(expanded(policy)).join(said(policy), on=[*FACTS, *ENDS], how="anti")
    assert wrong.is_empty(), wrong.row(0, named=True)


# The promises of section 12, cell by cell.


@each_policy
def test_nobody_is_subscribed_without_an_opt_in_newer_than_every_opt_out(policy: str) -> None:
    """12.1 and 12.2, in every cell: nobody becomes subscribed, and nobody stays so against an opt-out, but by name."""
    exempted: dict[str, set[tuple[str, ...]]] = {}
    for case in in_the_end(expanded(policy)).iter_rows(named=True):
        sides, ends = {case["shop"], case["esp"]}, {case["end_shop"], case["end_esp"]}
        is_right = "subscribed" in sides and ("unsubscribed" not in sides or is_newer_in(case))
        if "subscribed" in ends and not is_right:
            exempted.setdefault(case["exception"], set()).add(
                (
                    case["phase"],
                    case["shop"],
                    case["esp"],
                    case["shop_carried"],
                    case["chosen"],
                    case["end_esp"],
                    case["end_shop"],
                )
            )
        else:
            assert case["exception"] == "-", case
    both = ("yes", "no")
    e1 = {("first", "unsubscribed", "subscribed", "no", chosen, "subscribed", "subscribed") for chosen in both}
    e3 = {
        (phase, "not_subscribed", esp, carried, "yes", "subscribed", "not_subscribed")
        for phase in ("first", "ongoing")
        for esp in ("absent", "not_subscribed")
        for carried in both
    }
    assert exempted == {"mailchimp-for-shopify": {"E1": e1}, "cleverreach": {"E3": e3}}.get(policy, {})


@each_policy
def test_nobody_who_waits_is_subscribed_by_us(policy: str) -> None:
    """2.8: what the shop has not confirmed waits, and so does the ESP's open question, unless somebody says no."""
    waiting = expanded(policy).filter((pl.col("shop") == "pending") | (pl.col("esp") == "pending"))
    assert waiting.filter(pl.col("set_esp").is_in(["subscribed", "not_subscribed"])).is_empty()
    assert waiting.filter(pl.col("set_shop") == "subscribed").is_empty()


@each_policy
def test_nobody_who_was_deleted_or_archived_is_made_again(policy: str) -> None:
    at_esp = expanded(policy).filter(pl.col("esp") == "deleted")
    assert at_esp.filter((pl.col("set_esp") != "keep") | (pl.col("set_shop") != "keep")).is_empty()
    in_shop = expanded(policy).filter(pl.col("shop") == "deleted")
    assert set(in_shop["set_esp"]) <= {"keep", "archived"}
    assert set(in_shop["set_shop"]) == {"keep"}


@each_policy
def test_nobody_is_archived_but_for_a_deletion_in_the_shop(policy: str) -> None:
    archived = expanded(policy).filter(pl.col("set_esp") == "archived")
    assert set(archived["shop"]) == {"deleted"}
    assert "unsubscribed" not in set(archived["esp"])


def test_newsletter2go_tells_the_shop_of_nothing_but_opt_outs() -> None:
    """5.2: what comes back is exactly that."""
    assert set(expanded("newsletter2go")["set_shop"]) == {"keep", "unsubscribed"}


@each_policy
def test_a_lawyer_can_read_it(policy: str) -> None:
    lines = written(policy)
    assert lines["rule"].is_unique().all()
    assert lines["sentence"].str.ends_with(".").all()
    assert lines.height <= 45
    section = {"consent-first": r"\d+[a-d]?", "mailchimp-for-shopify": r"4\.\d[a-g]?", "newsletter2go": r"5\.\d[a-f]?"}
    assert all(re.fullmatch(section.get(policy, r"6\.\d[ab]?"), rule) for rule in lines["rule"])
    own = lines.filter(~pl.col("set_esp").str.starts_with("as "))
    assert set(own["rule"]) <= set(expanded(policy)["rule"])


# A slip of the pen in any row of any table is found.


def mutants(table: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """Every table that differs in one word of one row: another outcome, another exception, a fact that says something else."""
    made = []
    for number, row in enumerate(table.iter_rows(named=True)):
        words = {**rules.DOMAINS, **rules.OUTCOMES, "exception": ("", *rules.EXCEPTIONS)}
        for column, allowed in words.items():
            others = {*allowed, "*"} if column in rules.DOMAINS else {*allowed}
            for other in sorted(others - {row[column]}):
                changed = pl.when(pl.int_range(pl.len()) == number).then(pl.lit(other)).otherwise(column).alias(column)
                made.append((f"{row['rule']}: {column} {row[column]} -> {other}", table.with_columns(changed)))
    return made


def judged(policy: str) -> Iterator[tuple[str, str]]:
    """Each slip, and what becomes of it: loading refuses it, or some case ends otherwise than the page says, or the table comes
    to the same, rule by rule; else it survived."""
    right = in_the_end(expanded(policy))
    for slip, table in mutants(written(policy)):
        try:
            found = in_the_end(rules.expand(table, policy))
        except SetupError:
            yield slip, "refused"
            continue
        if not found.join(said(policy), on=[*FACTS, *ENDS], how="anti").is_empty():
            yield slip, "other than the page"
        else:
            is_same = found.join(right, on=[*FACTS, *ENDS, "rule"], how="anti").is_empty()
            yield slip, "the same" if is_same else "survived"


@pytest.mark.timeout(900)
@each_policy
def test_every_slip_of_the_pen_is_found(policy: str) -> None:
    assert [slip for slip, verdict in judged(policy) if verdict == "survived"] == []


# What loading refuses.

HEAD = "precedence,rule,phase,shop,shop_moved,esp,esp_moved,time_order,set_esp,set_shop,sentence"
ALL = "50,1,*,*,*,*,*,*,unsubscribed,unsubscribed,Nobody gets mail."


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., pl.DataFrame]:
    def from_lines(*lines: str) -> pl.DataFrame:
        table = tmp_path / "mine.csv"
        table.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return rules.load_policy(str(table))

    return from_lines


def test_a_table_of_the_merchants_own_is_read(load: Callable[..., pl.DataFrame]) -> None:
    assert load(HEAD, ALL).height == CASES


def test_a_lower_precedence_number_wins(load: Callable[..., pl.DataFrame]) -> None:
    found = load(HEAD, ALL, "10,2,*,unsubscribed,*,subscribed|pending,yes,*,unsubscribed,unsubscribed,Out.")
    decided = found.filter(pl.col("rule") == "2")
    assert decided.height == 2 * 2 * 2 * 3 * 2 * 2
    assert decided["esp_moved"].all()


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([HEAD, ALL.replace(",*,", ",first,", 1)], "1728 cases are open"),
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
        ([HEAD, ALL, "10,2,*,absent,*,*,*,*,keep,keep,Known, and kept."], "is no table: put a sentence"),
        ([], "is no table: put a sentence"),
        ([HEAD], "3456 cases are open"),
    ],
)
def test_loading_refuses(load: Callable[..., pl.DataFrame], lines: list[str], problem: str) -> None:
    with pytest.raises(SetupError, match=problem):
        load(*lines)


def test_an_unknown_policy_is_named_with_the_known_ones() -> None:
    with pytest.raises(
        SetupError, match="no policy 'strict': use one of cleverreach, consent-first, mailchimp-for-shopify, newsletter2go"
    ):
        rules.load_policy("strict")


# A table that takes over a policy of ours, and the exceptions.

OWN = "precedence,rule,shop,esp,set_esp,set_shop,exception,sentence"
REST = "90,R,*,*,as consent-first,as consent-first,,As consent-first."
OVERRULING = OWN.replace("shop,esp,", "phase,shop,shop_carried,esp,time_order,")
E1 = "10,M,first,unsubscribed,no,subscribed,shop_newer|unordered,keep,subscribed,E1,The shop follows."
E1_REST = "90,R,*,*,*,*,*,as consent-first,as consent-first,,As consent-first."


def test_a_table_that_takes_over_a_policy_is_that_policy_but_for_its_own_lines(load: Callable[..., pl.DataFrame]) -> None:
    ours = rules.load_policy("consent-first")
    assert load(OWN, REST).sort(FACTS).equals(ours.sort(FACTS))
    found = load(OWN, REST, "10,M,unsubscribed,absent,unsubscribed,keep,,Kept there as well.")
    assert found.filter(rule="M").select("shop", "esp").unique().rows() == [("unsubscribed", "absent")]
    others = ours.join(found.filter(rule="M"), on=FACTS, how="anti")
    assert found.filter(pl.col("rule") != "M").sort(FACTS).equals(others.sort(FACTS))


def test_a_table_that_names_an_exception_may_use_it(load: Callable[..., pl.DataFrame]) -> None:
    assert load(OVERRULING, E1, E1_REST)["exception"].drop_nulls().to_list() == ["E1"] * 16
    taken = REST.replace("consent-first", "cleverreach").replace(",,", ",E3,")
    assert load(OWN, taken).sort(FACTS).equals(rules.load_policy("cleverreach").sort(FACTS))


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([OWN, REST.replace("as consent-first", "as unknown")], "line 2: set_esp must be one of keep, .*as consent-first"),
        ([OWN, REST.replace("as consent-first", "as ../x")], "line 2: set_esp must be one of"),
        ([OWN, REST.replace("as consent-first", "keep", 1)], "line 2: set_esp and set_shop must take over the same policy"),
        ([OWN, REST.replace("as consent-first", "as cleverreach", 1)], "line 2: set_esp and set_shop must take over the same"),
        ([OWN, REST.replace("consent-first", "cleverreach")], "line 2: exception must name what the line takes over"),
        ([OWN, REST.replace("consent-first", "mailchimp-for-shopify")], "line 2: exception must name what the line takes over"),
        ([OWN, REST.replace(",,", ",E3,")], "line 2: exception must name what the line takes over, and no more"),
        ([OWN, REST.replace(",,", ",E2,")], "line 2: exception must be one of E1, E3"),
        ([OVERRULING, E1.replace(",E1,", ",,"), E1_REST], r"line 2: .* \(promise 12.1\)"),
        ([OVERRULING, E1.replace(",E1,", ",E3,"), E1_REST], "line 2: the exception does not cover this case"),
        ([OVERRULING, E1.replace("first", "*", 1), E1_REST], "line 2: the exception does not cover this case"),
        ([OVERRULING, E1.replace("no,", "*,", 1), E1_REST], "line 2: the exception does not cover this case"),
        ([OVERRULING, E1.replace("shop_newer|unordered", "*"), E1_REST], "line 2: .* or is not needed in it"),
        ([OVERRULING, E1.replace("keep", "subscribed", 1), E1_REST], "line 2: the exception does not cover this case"),
        ([OWN, REST, "10,M,not_subscribed,absent,subscribed,keep,E3,All."], "line 3: the exception does not cover this case"),
        ([OWN, REST, "10,M,pending,absent,subscribed,keep,E3,All."], "line 3: the exception does not cover this case"),
        ([OWN, REST, "10,M,pending,absent,subscribed,keep,,All."], r"line 3: .* \(promise 12.1\)"),
        ([OWN, REST, "10,M,unsubscribed,subscribed,keep,keep,,Not told."], r"line 3: .* \(promise 12.1\)"),
        ([OWN, REST, "10,M,subscribed,unsubscribed,keep,keep,,Not told."], r"line 3: .* \(promise 12.1\)"),
        ([OWN, REST, "10,M,subscribed,absent,subscribed,keep,E3,All."], "line 3: .* or is not needed in it"),
    ],
)
def test_loading_refuses_what_no_exception_allows(load: Callable[..., pl.DataFrame], lines: list[str], problem: str) -> None:
    with pytest.raises(SetupError, match=f"mine.csv, {problem}"):
        load(*lines)
