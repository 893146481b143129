"""Formats how long something takes."""

__all__ = ["HOUR", "format_duration"]

HOUR = 3600.0  # seconds


def format_duration(seconds: float) -> str:
    """Formats a duration in the unit that suits its length, from seconds to years.

    Example:
        >>> [format_duration(seconds) for seconds in (95, 20_000, 3e6, 1e10)]
        ['95 s', '5.6 hours', '35 days', '317 years']
    """
    for unit, length in ("years", 365.25 * 24 * HOUR), ("days", 24 * HOUR), ("hours", HOUR):
        if seconds >= 2 * length:
            return (
                f"{seconds / length:.1f} {unit}"
                if seconds < 10 * length
                else (f"{seconds / length:.0f} {unit}")
            )
    return f"{seconds:.0f} s"
