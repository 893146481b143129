"""Counts before their nouns, as a message says them: "1 label", "2 labels"."""

__all__ = ["counted"]


def counted(n: int, one: str, many: str | None = None, *, commas: bool = False) -> str:
    """Says how many there are of something.

    Arguments:
        n: How many.
        one: The noun of one.
        many: The noun of all other numbers; with an s if None.
        commas: Whether thousands are set apart.

    Example:
        >>> counted(1, "label"), counted(0, "label"), counted(2000, "index", "indices")
        ('1 label', '0 labels', '2000 indices')
        >>> counted(2000, "view", commas=True)
        '2,000 views'
    """
    noun = one if n == 1 else many or f"{one}s"
    return f"{n:,} {noun}" if commas else f"{n} {noun}"
