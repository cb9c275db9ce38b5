"""An axis's round numbers and how they are written. Pure functions."""

from __future__ import annotations

import math

_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_DAY = 86400


def round_step(span: float, most: int) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that divides a span into at most so many parts."""
    least = span / max(1, most)
    if not (least > 0 and math.isfinite(least)):
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next((part * power for part in (1, 2, 5) if part * power >= least * (1 - 1e-9)), 10 * power)


def time_step(span: float, most: int) -> float:
    """Like round_step, for seconds: whole minutes, quarters of an hour, hours, days."""
    least = span / max(1, most)
    if least > _DAY:
        return round_step(span / _DAY, most) * _DAY
    if least < 1:
        return round_step(span, most)
    return next(step for step in _TIME_STEPS if step >= least)


def ticks(low: float, high: float, step: float) -> list[float]:
    """The multiples of a step from low to high, exact as their labels say."""
    if not (step > 0 and math.isfinite(high - low) and (high - low) / step < 1000):
        return []
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(index * step, min(digits, 300)) for index in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two positive ones, for a logarithmic axis: at most so many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for parts in ((1, 2, 5), (1, 3), (1,)):
        found = [part * 10.0**power for power in range(first, last + 1) for part in parts]
        found = [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(found) <= most:
            break
    if len(found) < 3:  # a narrow range looks like a linear one
        linear = [tick for tick in ticks(low, high, round_step(high - low, most)) if tick > 0]
        found = max(found, linear, key=len)
    return found[:: max(1, -(-len(found) // max(1, most)))]


_UNITS = ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))  # from when, what it is, its letter


def number(value: float, step: float = 0.0) -> str:
    """A number as short as it stays clear: "0", "2.5", "12k", "3e-5". step: what its neighbours differ by."""
    size = abs(value)
    if size == 0 or not math.isfinite(value):
        return "0" if size == 0 else "–"
    if size < 1e-3 or size >= 1e15:
        digits = max(0, math.floor(math.log10(size)) - math.floor(math.log10(step))) if step else 1
        mantissa, power = f"{value:.{min(digits, 4)}e}".split("e")
        return f"{mantissa}e{int(power)}"
    unit, letter = next(((unit, letter) for least, unit, letter in _UNITS if size >= least), (1.0, ""))
    if step:
        digits = max(0, -math.floor(math.log10(step / unit) + 1e-9))
    else:
        digits = max(0, 3 - max(0, math.floor(math.log10(size / unit))))
    return f"{value / unit:,.{min(digits, 6)}f}{letter}"


def short(value: float) -> str:
    """A number that is round, without zeros that say nothing: "0.5", "200", "20k"."""
    text = number(value)
    digits = text.rstrip("TGMk")
    if "." not in digits or "e" in digits:
        return text.replace(".0e", "e")
    return digits.rstrip("0").rstrip(".") + text[len(digits) :]


def span_of_time(seconds: float) -> str:
    """Seconds on an axis: "0", "45 s", "5 min", "1 h 30", "2 d"."""
    if seconds < 60:
        return f"{seconds:g} s" if seconds else "0"
    minutes = round(seconds / 60)
    if seconds < 3600:
        rest = round(seconds - 60 * (seconds // 60))
        return f"{int(seconds // 60)} min" + (f" {rest:02}" if rest else "")
    if seconds < _DAY:
        return f"{minutes // 60} h" + (f" {minutes % 60:02}" if minutes % 60 else "")
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d" + (f" {hours} h" if hours else "")
