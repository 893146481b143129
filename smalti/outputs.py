"""Checks output paths and marks output files: smalti only replaces files that it wrote itself.

A file carries a mark of smalti's in a place that its format has for it:

    .png       a text chunk, "Software"
    .npz       the comment of the archive, and no other arrays than smalti writes
    .parquet   a key of the schema's metadata, and no other columns than smalti writes
    .json      the key "smalti_version"
    .html, .md  a tag, or a comment, that names the generator
    .smt       its beginning, and the checksum at its end
    .csv       a last line that ends in CR and LF, where all others end in LF alone
    .wav, .flac  the program that wrote it, among the texts before or after the samples

A file without the mark is replaced only with `overwrite`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from smalti.errors import InputError
from smalti.files import atomic_file, read_bytes, tidy

__all__ = [
    "KEY",
    "MARK",
    "check_file",
    "path_from_option",
    "check_writable",
    "is_unmarked_png",
    "check_output",
    "write_file",
    "write_rows",
    "written_by_smalti",
]

LONGEST_TEXT = 1 << 16  # bytes
ROWS = 1 << 16  # of a parquet file that are written at a time
MARK = f"smalti {version('smalti')}"
KEY = "smalti_version"
LARGEST = 64 << 20  # bytes of a JSON or a page that is looked into: smalti's are smaller
COLUMNS = re.compile(
    r"indices(_\d+)?|context|latents|file|item_id|embedding|id|codes|own|resolved|x|time|names"
)


def write_rows(
    path: Path, n: int, table: Callable[[slice], pa.Table], compression: str = "snappy"
) -> None:
    """Writes a parquet file of n rows, of which few are in memory as they are written.

    Arguments:
        path: The file.
        n: The number of rows.
        table: Makes the table of some of the rows; all have the same columns and metadata.
        compression: How pages are compressed.
    """
    parts = (table(slice(start, start + ROWS)) for start in range(0, max(n, 1), ROWS))
    first = next(parts)
    with pq.ParquetWriter(path, first.schema, compression=compression) as writer:
        for part in chain([first], parts):
            writer.write_table(part)


def written_by_smalti(path: Path) -> bool:
    """Returns whether a file is marked as written by smalti, and was not changed since."""
    recognise = {
        ".png": _is_png,
        ".npz": _is_npz,
        ".parquet": _is_parquet,
        ".json": _is_json,
        ".csv": _is_csv,
        ".html": _is_page,
        ".md": _is_page,
        ".wav": _is_wav,
        ".flac": _is_flac,
        ".smt": _is_coded,
    }.get(path.suffix.lower())
    if recognise is None or not path.is_file():
        return False
    try:
        return recognise(path)
    except Exception:  # readers raise nearly anything at a file of another kind
        return False


def is_unmarked_png(path: Path) -> bool:
    """Returns whether a file is a PNG without any metadata, as early versions of smalti wrote."""
    if not path.is_file():
        return False
    try:
        return {kind for kind, _ in _png_chunks(path)} <= {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
    except (OSError, ValueError):
        return False


def check_file(path: str | Path, overwrite: bool = False) -> None:
    """Checks that a file may be written: nothing is there, or a file that may be replaced.

    Raises:
        InputError: If it would replace a file that smalti did not write, or there is no file but
            a folder, a pipe or a device.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise InputError(
            f"{path} is {kind}, and a file goes there: move it, or choose another name."
        )
    if path.is_file() and not overwrite and not written_by_smalti(path):
        raise InputError(
            f"{path} is there already and was not written by smalti: choose another name, or "
            f"replace it with --overwrite (overwrite=True in Python)."
        )


def write_file(content: bytes, path: str | Path, overwrite: bool = False) -> None:
    """Writes a file that is marked as written by smalti, atomically.

    Raises:
        InputError: See `check_file`.
    """
    check_file(path, overwrite)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def check_output(
    out: str, suffixes: Iterable[str] = (), *, folder: bool = False, overwrite: bool = False
) -> Path:
    """Converts the option `--out` to a path, and checks that it can be written to.

    Arguments:
        out: The option; a leading ~ is the home folder.
        suffixes: The suffixes that a file may have; none if it must be a folder.
        folder: Whether it may be a folder.
        overwrite: Whether a file that smalti did not write may be replaced.

    Raises:
        InputError: If it is empty or like an option, is of another kind, or would replace what
            smalti did not write.
        OSError: If it cannot be written to.
    """
    path = path_from_option(out)
    wanted = [suffix for suffix in suffixes if path.suffix.lower() == suffix]
    is_folder = path.is_dir() or (out.endswith("/") and not path.is_file())
    if is_folder or not wanted:
        names = " or ".join(suffixes)
        if not folder:
            what = "is a folder" if is_folder else f"ends in {path.suffix or 'nothing'}"
            mend = f"name it {path.stem or 'result'}{next(iter(suffixes), '')}"
            raise InputError(
                f"--out takes the name of a {names} file, got {out}, which {what}: {mend}."
            )
        if names and path.suffix and not is_folder:
            raise InputError(
                f"--out takes the name of a {names}, or of a folder, got {out}: choose one (end "
                f"the name of a folder in /)."
            )
        if path.exists() and not path.is_dir():
            raise InputError(f"--out takes a folder here, got the file {out}: choose another name.")
        check_writable(path / "file")
    else:
        if path.exists() and not path.is_file():
            raise InputError(f"{out} is a pipe or a device, not a file: choose another --out.")
        check_writable(path)
        tidy(path.parent, path.name)
        check_file(path, overwrite)
    return path


def path_from_option(out: str) -> Path:
    """Converts a name in an option to a path, with ~ expanded.

    Raises:
        InputError: If the name is empty, or can only be a slip.

    Example:
        >>> path_from_option("runs/mine").parts
        ('runs', 'mine')
    """
    if not out.strip():
        raise InputError("The option --out is empty: give a name.")
    if out.startswith("-"):
        raise InputError(
            f"--out takes a name, got {out}, which looks like an option: write ./{out} if it is "
            f"one."
        )
    if "\0" in out:
        raise InputError("--out has a character that no name can have: choose another.")
    path = Path(os.path.expanduser(out))  # noqa: PTH111 - the other one raises at ~nobody
    if path.parts[:1] and path.parts[0].startswith("~") and not out.startswith("./"):
        raise InputError(f"--out is {out}, and {path.parts[0]} is no user here: write ./{out}.")
    # One cannot go back from a folder that is not there: what lies behind it would not be seen.
    return path.resolve() if ".." in path.parts else path


def check_writable(path: Path) -> None:
    """Raises `OSError` unless a file can be created at a path."""
    for parent in path.parents:
        try:
            found = parent.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue  # is made, or what is above it is no folder
        if not parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(parent))
        if not os.access(parent, os.W_OK | os.X_OK):
            read_only = bool(os.statvfs(parent).f_flag & os.ST_RDONLY) and bool(found)
            code = errno.EROFS if read_only else errno.EACCES
            raise OSError(code, os.strerror(code), str(path))
        return


def _is_png(path: Path) -> bool:
    return any(
        kind == b"tEXt" and content.startswith(b"Software\0smalti ")
        for kind, content in _png_chunks(path)
    )


def _png_chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yields the kinds and contents of the parts of a PNG file; those of large ones are empty.

    Raises:
        ValueError: If it is no PNG file, or is cut off.
    """
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            raise ValueError("no PNG file")
        kind = b""
        while kind != b"IEND":
            header = file.read(8)
            if len(header) < 8:
                raise ValueError("cut off")
            length, kind = int.from_bytes(header[:4], "big"), header[4:]
            yield kind, file.read(length) if length <= LONGEST_TEXT else b""
            file.seek(4 + (length if length > LONGEST_TEXT else 0), os.SEEK_CUR)


def _is_wav(path: Path) -> bool:
    """Returns whether the text ISFT of a list of a RIFF file names smalti."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF":
            return False
        while len(header := file.read(8)) == 8:
            length = int.from_bytes(header[4:], "little")
            if header[:4] == b"LIST" and length <= LONGEST_TEXT:
                if b"ISFT" in (text := file.read(length)) and b"smalti " in text:
                    return True
                length = length % 2
            else:
                length += length % 2
            file.seek(length, os.SEEK_CUR)
    return False


def _is_flac(path: Path) -> bool:
    """Returns whether the comments of a FLAC file name smalti."""
    with path.open("rb") as file:
        if file.read(4) != b"fLaC":
            return False
        last = False
        while not last and len(header := file.read(4)) == 4:
            last, kind = bool(header[0] & 0x80), header[0] & 0x7F
            length = int.from_bytes(header[1:], "big")
            if kind == 4 and length <= LONGEST_TEXT:
                return b"software=smalti " in file.read(length).lower()
            file.seek(length, os.SEEK_CUR)
    return False


def _is_npz(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        return archive.comment.startswith(b"smalti ") and all(map(COLUMNS.fullmatch, names))


def _is_parquet(path: Path) -> bool:
    schema = pq.read_schema(path)
    marked = (schema.metadata or {}).get(KEY.encode()) is not None
    return marked and all(map(COLUMNS.fullmatch, schema.names))


def _is_json(path: Path) -> bool:
    content = json.loads(read_bytes(path, LARGEST))
    return KEY in content or "smalti" in content.get("versions", {})


def _is_csv(path: Path) -> bool:
    content = read_bytes(path, LARGEST)
    return content.endswith(b"\r\n") and content.count(b"\r") == 1 and content.count(b"\n") > 1


def _is_coded(path: Path) -> bool:
    content = read_bytes(path)
    return content[:4] == b"\x9aSMT" and zlib.crc32(content[:-4]) == int.from_bytes(
        content[-4:], "little"
    )


def _is_page(path: Path) -> bool:
    page = read_bytes(path, LARGEST)
    return b'<meta name="generator" content="smalti ' in page or b"<!-- smalti " in page
