"""Formats counts with their nouns, for messages: "1 label", "2 labels"."""

__all__ = ["counted"]


def counted(n: int, one: str, many: str | None = None, *, commas: bool = False) -> str:
    """Formats a count with its noun in the singular or plural: "1 label", "2 labels".

    Arguments:
        n: The count.
        one: The noun in the singular.
        many: The noun in the plural; `one` with an s if None.
        commas: Whether thousands are set apart.

    Example:
        >>> counted(1, "label"), counted(0, "label"), counted(2000, "index", "indices")
        ('1 label', '0 labels', '2000 indices')
        >>> counted(2000, "view", commas=True)
        '2,000 views'
    """
    noun = one if n == 1 else many or f"{one}s"
    return f"{n:,} {noun}" if commas else f"{n} {noun}"
