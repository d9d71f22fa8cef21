"""How a measured value stands to its threshold, in numbers and in words.

Compared exactly, with the decimal the user wrote and not its nearest float, so that a verdict at
the threshold does not hang on rounding. The words are for people and are printed with as many
digits as it takes not to contradict the verdict.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import inf, isfinite
from typing import assert_never

from canaryd.core.model import Comparator, Condition
from canaryd.core.quantiles import Bracket
from canaryd.core.units import format_decimal


def holds(condition: Condition, value: Fraction) -> bool:
    """Compare exactly: the limit is the decimal the user wrote, not its nearest float."""
    low, high = Fraction(str(condition.low)), Fraction(str(condition.high))
    match condition.comparator:
        case Comparator.AT_LEAST:
            return value >= low
        case Comparator.AT_MOST:
            return value <= low
        case Comparator.ABOVE:
            return value > low
        case Comparator.BELOW:
            return value < low
        case Comparator.BETWEEN:
            return low <= value <= high
        case _:
            assert_never(condition.comparator)


def bracket_holds(condition: Condition, found: Bracket) -> bool | None:
    """Tell whether a latency within these edges keeps the limit; None when it may or may not.

    Time is continuous, so ``<`` and ``<=`` are the same here.
    """
    low_ms, high_ms = found.low_s * 1000, found.high_s * 1000
    low, high = 0.0, inf
    match condition.comparator:
        case Comparator.AT_MOST | Comparator.BELOW:
            high = condition.low
        case Comparator.AT_LEAST | Comparator.ABOVE:
            low = condition.low
        case Comparator.BETWEEN:
            low, high = condition.low, condition.high
        case _:
            assert_never(condition.comparator)
    if _at_least(low_ms, low) and _at_least(high, high_ms):
        return True
    return False if _at_least(low, high_ms) or _at_least(low_ms, high) else None


def _at_least(a: float, b: float) -> bool:
    """Compare milliseconds, blind to what multiplying an edge by 1000 does in its last digit."""
    return a >= b or a >= b * (1 - 1e-12)


def limits(condition: Condition) -> tuple[Fraction, ...]:
    """Return the limits of a condition, exactly as written: one, or the two ends of a range."""
    low = Fraction(str(condition.low))
    if condition.comparator is Comparator.BETWEEN:
        return low, Fraction(str(condition.high))
    return (low,)


def relation(condition: Condition, value: Fraction | float, *, ok: bool) -> str:
    """Say how a value stands to its threshold."""
    limit = f"{format_decimal(condition.low)}{suffix(condition.unit)}"
    match condition.comparator:
        case Comparator.AT_LEAST:
            return f"is at least {limit}" if ok else f"is below {limit}"
        case Comparator.AT_MOST:
            return f"is at most {limit}" if ok else f"is above {limit}"
        case Comparator.ABOVE:
            return f"is above {limit}" if ok else f"is not above {limit}"
        case Comparator.BELOW:
            return f"is below {limit}" if ok else f"is not below {limit}"
        case Comparator.BETWEEN:
            ends = f"{format_decimal(condition.low)}..{format_decimal(condition.high)}"
            ends += suffix(condition.unit)
            side = "below" if value < condition.low else "above"
            return f"is within {ends}" if ok else f"is {side} {ends}"
        case _:
            assert_never(condition.comparator)


def in_ms(condition: Condition) -> Condition:
    """Return the condition as one about milliseconds, whatever unit it was written in."""
    return replace(condition, unit="ms")


def suffix(unit: str) -> str:
    """Return a unit as it stands behind a number: a word apart, a sign close to it."""
    return f" {unit}" if unit.isalpha() else unit


def in_window(window_s: float) -> str:
    """Return over how many seconds something was counted; nothing when that is not known."""
    return f" in {window_s:.0f} s" if window_s > 0 else ""


def many(count: float, noun: str) -> str:
    """Return a count with its noun, in the plural where it belongs."""
    return f"{count:,.0f} {noun}" + ("" if round(count) == 1 else "s")


def number(value: Fraction | float, marks: Sequence[Fraction | float] = ()) -> str:
    """Print a number with four digits, or as many as keep it on its side of the marks."""
    exact = float(value)
    if not isfinite(exact):
        return str(exact)
    digits = max(4, len(str(int(abs(exact)))))
    rounded = exact
    for precision in range(digits, 17):
        rounded = float(f"{exact:.{precision}g}")
        shown = Fraction(str(rounded))
        if all(_sign(shown, mark) == _sign(value, mark) for mark in marks):
            break
    return format_decimal(rounded)


def _sign(value: Fraction | float, mark: Fraction | float) -> int:
    return (value > mark) - (value < mark)
