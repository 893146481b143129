"""The manifest of a data set: the fingerprint, split and label of each example.

    data/manifest.json      where the data come from, their labels, what was left out, a checksum
    data/examples.parquet   name, fingerprint, split and label of each example, in order

A run writes it before it trains, and later compares its data with it. Names are there for people:
an example is known by its fingerprint (`smalti.data.splitting`). Synthetic data, which
are made of numbers, have no rows; the parameters that they are made by say it all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smalti.checksums import json_checksum
from smalti.data.splitting import CHUNK, SIZE
from smalti.errors import InputError, first_line
from smalti.files import atomic_folder, sha256, write_text
from smalti.name_array import NameArray
from smalti.outputs import write_rows

__all__ = ["SPLITS", "Manifest", "read_manifest", "write_manifest"]

SPLITS = ("train", "validation", "test")
FACTS, ROWS = "manifest.json", "examples.parquet"
UNIMPORTANT = ("path",)  # where data lie says nothing of what they are
BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Manifest:
    """The list of all N examples that a run uses, in the order train, validation, test.

    Arguments:
        fingerprints: (N, 16), uint8, a hash of the stored content of each example.
        splits: (N,), int8: the split of each example, as an index of `SPLITS`.
        labels: (N,), int32: the label of each example as a number; -1 for none.
        names: The name of each example, for messages.
        found_in: (N,), int8: the split that the data set itself puts each example into; that of a
            held-out example is "train".
        label_names: The names of the labels, or the captions; None where there are none.
        captions: Whether they are captions.
        left_out: Name and reason of each example that is not used.
        source: The source in the recipe: class and arguments.
        recipe: Checksums of the parts of the run's recipe.
        recipe_before: For each part the checksums that it had before the run was extended.
        earlier: Checksums of the manifests that this one continues; their examples keep their
            split.
    """

    fingerprints: np.ndarray
    splits: np.ndarray
    labels: np.ndarray
    found_in: np.ndarray
    names: Sequence[str] | pa.Array  # a `NameArray` where they are many
    label_names: tuple[str, ...] | None = None
    left_out: tuple[tuple[str, str], ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, str] = field(default_factory=dict)
    recipe_before: dict[str, tuple[str, ...]] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()
    captions: bool = False

    def __len__(self) -> int:
        return len(self.splits)

    @property
    def checksum(self) -> str:
        """Returns the SHA-256 of the examples, their order, splits and labels, and how they are
        read.
        """
        digest = hashlib.sha256(
            json.dumps([self.label_names, without_location(self.source)], sort_keys=True).encode()
        )
        for column in self.fingerprints, self.splits, self.labels, self.found_in:
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def name(self, row: int) -> str:
        """Returns the name of an example."""
        return str(self.names[row])

    def label_name(self, row: int) -> str | None:
        """Returns the name of the label of an example; None if it has none."""
        number = int(self.labels[row])
        return None if number < 0 or self.label_names is None else self.label_names[number]

    def counts(self) -> dict[str, int]:
        """Counts the examples of each split."""
        return {name: int((self.splits == number).sum()) for number, name in enumerate(SPLITS)}


def without_location(source: dict[str, Any]) -> dict[str, Any]:
    """Removes from the source in a recipe the path or name where the data lie."""
    arguments = {
        name: value
        for name, value in (source.get("init_args") or {}).items()
        if name not in UNIMPORTANT
    }
    kind = str(source.get("class_path", "")).rpartition(".")[2]
    return {**source, "class_path": kind, "init_args": arguments}


def write_manifest(manifest: Manifest, folder: str | Path) -> None:
    """Writes `manifest.json` and `examples.parquet` to a folder, whole or not at all."""
    facts = {
        "source": manifest.source,
        "labels": manifest.label_names,
        "splits": manifest.counts(),
        "left_out": manifest.left_out,
        "recipe": manifest.recipe,
        "recipe_before": manifest.recipe_before,
        "earlier": manifest.earlier,
        **({"captions": True} if manifest.captions else {}),
        "checksum": manifest.checksum,
    }
    with atomic_folder(folder) as temporary:
        if len(manifest):
            table = _tables(manifest)
            write_rows(temporary / ROWS, len(manifest), table, compression="zstd")
            facts["sha256"] = sha256(temporary / ROWS)
        facts = json.loads(json.dumps(facts))
        facts["whole"] = json_checksum(facts)
        write_text(temporary / FACTS, json.dumps(facts, indent=2) + "\n")


def read_manifest(folder: str | Path) -> Manifest | None:
    """Reads the manifest in a folder; None where there is no such folder.

    Raises:
        InputError: If it is damaged.
    """
    folder = Path(folder)
    if not folder.exists():
        return None
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if facts.pop("whole") != json_checksum(facts):
            raise ValueError(f"{FACTS} was edited")
        if "sha256" in facts and sha256(folder / ROWS) != facts["sha256"]:
            raise ValueError(f"{ROWS} was edited")
        label_names = facts["labels"] and tuple(map(str, facts["labels"]))
        manifest = Manifest(
            **_columns(folder / ROWS, label_names, sum(facts["splits"].values())),
            label_names=label_names,
            left_out=tuple((str(name), str(reason)) for name, reason in facts["left_out"]),
            source=dict(facts["source"]),
            recipe=dict(facts["recipe"]),
            recipe_before={k: tuple(v) for k, v in facts.get("recipe_before", {}).items()},
            earlier=tuple(facts["earlier"]),
            captions=bool(facts.get("captions", False)),
        )
    except (*BROKEN, InputError) as error:  # those of pyarrow are among them
        raise InputError(
            f"{folder}, which says what data the run was made from, is damaged "
            f"({first_line(error)}): copy it back, or fit to another --out."
        ) from error
    return manifest


def _tables(manifest: Manifest) -> Callable[[slice], pa.Table]:
    """Returns what makes the table of some examples: name, fingerprint, split and label."""
    names = manifest.names
    if isinstance(names, NameArray):
        names = names.array
    elif not isinstance(names, pa.Array | pa.ChunkedArray):
        names = pa.array([_encodable(name) for name in names], pa.string())
    words = pa.array(map(_encodable, manifest.label_names or ()), pa.string())

    def table(rows: slice) -> pa.Table:
        numbers = manifest.labels[rows]
        labels = pa.array(numbers, mask=numbers < 0)
        prints = [row.tobytes().hex() for row in manifest.fingerprints[rows]]
        return pa.table(
            {
                "name": names[rows],
                "fingerprint": pa.array(prints, pa.string()),
                "split": pa.array(SPLITS).take(pa.array(manifest.splits[rows])),
                "found_in": pa.array(SPLITS).take(pa.array(manifest.found_in[rows])),
                "label": words.take(labels) if len(words) else pa.nulls(len(labels), pa.string()),
            }
        )

    return table


def _columns(path: Path, label_names: tuple[str, ...] | None, n: int) -> dict[str, Any]:
    """Reads the columns of a manifest of n examples with these labels."""
    if not n:
        return manifest_columns(b"", [], [], [], [])
    table = pq.read_table(path, partitioning=None)
    words = pa.array(map(_encodable, label_names or ()), pa.string())
    labels = pc.index_in(table["label"].cast(pa.string()), value_set=words, skip_nulls=True)
    numbers = [
        pc.index_in(table[name], value_set=pa.array(SPLITS)) for name in ("split", "found_in")
    ]
    if len(table) != n or any(column.null_count for column in numbers):
        raise ValueError(f"{n} rows with a split each are announced, got {len(table)}")
    texts = table["fingerprint"]
    parts = (texts[start : start + CHUNK] for start in range(0, n, CHUNK))
    prints = b"".join(bytes.fromhex("".join(part.to_pylist())) for part in parts)
    splits, found_in = numbers
    return manifest_columns(
        prints, splits, pc.fill_null(labels, -1), found_in, table["name"].combine_chunks()
    )


def manifest_columns(
    fingerprints: bytes, splits: Any, labels: Any, found_in: Any, names: Any
) -> dict[str, Any]:
    """Converts the columns of a manifest to their dtypes: keyword arguments of `Manifest`."""
    return {
        "fingerprints": np.frombuffer(fingerprints, np.uint8).reshape(-1, SIZE),
        "splits": np.asarray(splits, dtype=np.int8),
        "labels": np.asarray(labels, dtype=np.int32),
        "found_in": np.asarray(found_in, dtype=np.int8),
        "names": names,
    }


def _encodable(name: str) -> str:
    """Returns a name that UTF-8 can hold, whatever its bytes on the disk are."""
    return str(name).encode("utf-8", "backslashreplace").decode()
