"""Who is served next: by class, by turns over tenants, in order for each."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from quota.domain.asks import Ask
from quota.domain.classes import PriorityClass
from quota.domain.lines import Line

P1, P3 = PriorityClass.P1, PriorityClass.P3


@dataclass(eq=False)
class One:
    name: str
    ask: Ask


def one(name: str, tenant: int, priority_class: PriorityClass = P3) -> One:
    return One(name, Ask(provider="test", model="m", priority_class=priority_class, tokens=1, tenant=UUID(int=tenant)))


def names(line: Line[One], most: int = 10) -> str:
    return "".join(each.name for each in line.next_of(P3, most))


def test_every_tenants_first_comes_before_any_ones_second() -> None:
    line: Line[One] = Line()
    for each in (one("a", 1), one("b", 1), one("c", 1), one("d", 2), one("e", 3)):
        line.join(each)

    assert names(line) == "adebc"
    assert names(line, 2) == "ad"


def test_whoever_was_served_lets_the_other_tenants_go_first() -> None:
    line: Line[One] = Line()
    first, *rest = one("a", 1), one("b", 1), one("c", 2)
    for each in (first, *rest):
        line.join(each)
    line.serve(first)

    assert names(line) == "cb"
    assert line.head(P3) is rest[1]


def test_nobody_is_at_the_head_of_a_line_that_all_have_left() -> None:
    line: Line[One] = Line()
    only = one("a", 1)
    line.join(only)
    line.leave(only)

    assert line.head(P3) is None


def test_leaving_changes_nobody_elses_turn_and_leaving_twice_nothing() -> None:
    line: Line[One] = Line()
    first, second = one("a", 1), one("b", 1)
    for each in (first, second, one("c", 2)):
        line.join(each)
    line.leave(first)
    line.leave(first)

    assert names(line) == "bc"
    assert (len(line), line.count(P3), line.count(P1)) == (2, 2, 0)


def test_classes_stand_in_lines_of_their_own() -> None:
    line: Line[One] = Line()
    line.join(one("a", 1))
    line.join(one("b", 1, P1))

    assert (names(line), [each.name for each in line.next_of(P1, 5)]) == ("a", ["b"])
    assert {each.name for each in line.everyone()} == {"a", "b"}
