"""`smalti compare`: quantizers head to head."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.commands.common import call_with_options, data_overrides
from smalti.comparison import Comparison, default_methods, head_to_head
from smalti.comparison import compare_on_gaussian as on_vectors
from smalti.errors import InputError
from smalti.outputs import check_output
from smalti.recipes import schema

__all__ = ["compare", "run"]

SET = {
    "tokenizer.training.steps": "give --budget",
    "tokenizer.training.validate_every": "give --budget",
    "tokenizer.quantizer": "give --quantizers and --bits",
    "tokenizer.loss_weights": "leave it out",
    "tokenizer.fitting": "give --quantizers",
    "ids": "none are given, leave it out",
    "prior": "its small prior is the same for all, leave it out",
}  # what `head_to_head` gives each run, and what to give for it
USUAL = "ste,ema,nsvq,rotation,simvq,fsq,lfq,bsq,gumbel"  # of N(0, I)


def run(words: Sequence[str]) -> None:
    """Parses the command line and calls `compare`; dotted options are fields of the recipe."""
    own: list[str] = []
    fields: list[str] = []
    taker = own
    for word in words:
        if word.startswith("--"):
            taker = fields if "." in word.partition("=")[0] else own
        taker.append(word)
    call_with_options(compare, own, fields=fields)


def compare(  # noqa: PLR0913 - the options of the command
    fields: Sequence[str],
    data: str | None = None,
    quantizers: str | None = None,
    seeds: int = 3,
    budget: int = 2000,
    bits: str | None = None,
    recipe: str = "images32",
    out: str = "runs/compare",
    overwrite: bool = False,
    changed_data: str = "refuse",
    stages: int | None = None,
) -> None:
    """Compares quantizers head to head: the same encoder, bits, budget and order of the data.

    With a recipe for vectors some of them work without a network, on the vectors themselves.

    Arguments:
        fields: Dotted options, of the recipe.
        data: A folder, a parquet, IDX files or a hub name, as for smalti fit; or the word gaussian,
            for vectors of N(0, I) in 128 dimensions, where the limit is known.
        quantizers: Short names, with commas between them: ste, ema, nsvq, rotation, simvq, fsq,
            lfq, bsq, gumbel if not given; also diveq and ibq. Of several indices per position, for
            recipes of IDs: residual-kmeans, residual-kmeans-beam, residual-kmeans-refined, qinco,
            pq and opq, which work without an encoder, rq-vae, rfsq, pfsq, and faiss-lsq beside.
        seeds: Runs of each quantizer at each rate.
        budget: Optimizer steps of each run; a quarter as many for the small prior over its tokens.
        bits: Bits per index, with commas between several; 9 if not given, 8 for gaussian and for
            several indices per position.
        recipe: Whose data, network and optimizer are used; its fields are dotted options.
        out: Folder for the table, the plots and the runs.
        overwrite: Replace a table and plots that smalti did not write, too.
        changed_data: Where the data are not those that runs in the folder were made from: refuse,
            or ignore, to compare on those alone.
        stages: Indices per position; if not given, as many as the recipe's quantizer has.
    """
    folder = check_output(out, folder=True)
    Comparison.check(folder, overwrite)
    for option, value in (("seeds", seeds), ("budget", budget), ("stages", stages)):
        if value is not None and value < 1:
            raise InputError(f"--{option} must be at least 1, got {value}.")
    if data == "gaussian":
        if fields:
            raise InputError(f"--data gaussian has no recipe: leave {fields[0]} out.")
        if stages not in (None, 1):
            raise InputError("--data gaussian has one index per vector: leave --stages out.")
        names = _names(USUAL if quantizers is None else quantizers)
        made = on_vectors(names, bits=_rates(bits or "8"), seeds=seeds, steps=budget)
    else:
        _check_free(fields)
        rates = None if bits is None else _rates(bits)
        read = schema.read(recipe, [*fields, *data_overrides(data)])
        usual_names, usual_bits = default_methods(read)
        made = head_to_head(
            read,
            list(usual_names) if quantizers is None else _names(quantizers),
            bits=rates or [usual_bits],
            seeds=seeds,
            steps=budget,
            folder=folder,
            changed_data=changed_data,
            stages=stages,
        )
    made.save(folder, overwrite)
    print(made.table())
    plots = ", ".join(f"{folder / name}.png" for name in made.plots())
    more = f"   Plots: {plots}" if plots else "; plots are drawn of several rates, or of trainings"
    print(f"Table: {folder / 'comparison.md'}{more}")


def _check_free(fields: Sequence[str]) -> None:
    """Checks that no dotted option is of what every run of a comparison is given anew."""
    for word in fields:
        name = word.partition("=")[0].removeprefix("--")
        for field, instead in SET.items():
            if f"{name}.".startswith(f"{field}."):
                raise InputError(f"--{name} has no effect, smalti compare sets it: {instead}.")


def _names(quantizers: str) -> list[str]:
    """Returns names in the order given, each once."""
    return list(dict.fromkeys(quantizers.split(",")))


def _rates(bits: str) -> list[int]:
    """Rates in the order given.

    Example:
        >>> _rates("6,9")
        [6, 9]
    """
    words = bits.split(",")
    if not all(word.isdecimal() and 1 <= int(word) <= 16 for word in words):
        raise InputError(f"--bits takes whole numbers from 1 to 16, e.g. 6,9; got {bits}.")
    return [int(word) for word in dict.fromkeys(words)]
