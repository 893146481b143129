"""What codes tell: with their order where it lies in the order, without where it does not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from smalti.conditions import Conditions, Label
from smalti.data.items import Category, Items
from smalti.data.manifest import Manifest, manifest_columns
from smalti.evaluation.measurements import CodeProbes
from smalti.evaluation.measurements.code_probes import count_codes
from smalti.layout import Layout

SAID, WHO = Label(["up", "down"]), Label(["anna", "ben", "cleo"], "speaker")


def codes(said: torch.Tensor, who: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """(N, 16): low codes, then high ones, or the other way; a voice has three codes of its own."""
    half = torch.arange(16) // 8
    pitch = (half[None] + said[:, None]) % 2
    voice = torch.randint(2, (len(said), 16), generator=draw)
    return pitch * 6 + who[:, None] * 2 + voice


def subject(items: bool):
    draw = torch.Generator().manual_seed(0)
    n = (90, 10, 40)
    said, who = (torch.randint(k, (sum(n),), generator=draw) for k in (2, 3))
    tokens = codes(said, who, draw)
    both = Conditions([SAID, WHO])
    values = both.pack({"label": said, "speaker": who})
    condition = SAID if items else both
    given = said if items else values
    starts = np.cumsum([0, *n])

    class Part(list):
        endless = False

        def __init__(self, split: int) -> None:
            super().__init__(range(n[split]))
            self.rows = slice(int(starts[split]), int(starts[split + 1]))

        def conditions_at(self, chosen):
            return given[self.rows][torch.as_tensor(chosen)]

    names = [f"item {i}" for i in range(sum(n))]
    manifest = Manifest(
        **manifest_columns(
            bytes(16 * sum(n)), np.repeat([0, 1, 2], n), [-1] * sum(n), [0] * sum(n), names
        )
    )
    table = Items(names[::-1], {"speaker": Category(who.numpy()[::-1].astype(np.int32), WHO.names)})
    parts = [Part(split) for split in range(3)]
    splits = SimpleNamespace(
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        condition=condition,
        items=table if items else None,
        manifest=manifest,
        signal=SimpleNamespace(spatial_dims=1, plural="sounds"),
    )
    layout = Layout(((16,),), ((12,),))
    tokenizer = SimpleNamespace(layout=layout)
    return SimpleNamespace(
        splits=splits,
        seed=0,
        tokenizer=tokenizer,
        tokens=tokenizer,
        test=range(n[2]),
        test_set="test set, N = 40",
        encoded=SimpleNamespace(latents=tokens[starts[2] :]),
        encode=lambda x: x,
        batches=lambda examples, chosen: [(tokens[examples.rows][list(chosen)], None)],
    )


def test_order_tells_what_lies_in_it_and_histograms_the_voice():
    for items in (False, True):  # the speaker as a condition, or only as a fact of the examples
        seen = subject(items)
        assert CodeProbes().applies(seen) is None
        section = CodeProbes().run(seen)
        assert not section.missing
        found = {
            name: {way: one["value"] for way, one in figures.items()}
            for name, figures in section.figures.items()
        }
        assert set(found) == {"label", "speaker"}
        assert found["label"]["histogram"] < 0.75 < 0.95 < found["label"]["order"]
        assert found["speaker"]["histogram"] > 0.95
        assert found["speaker"]["most_frequent"] < 0.6
        assert "codes tell the" in section.blocks["words"].to_html()


def test_counts_are_shares_of_each_part_and_leave_out_what_has_no_code():
    grid = torch.tensor([[0, 0, 1, -1], [1, 1, 1, 1]])
    shares = count_codes([grid], [(2,)], 2)[0].square()
    torch.testing.assert_close(shares, torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 1]]))
    several = torch.stack([grid.clamp(min=0), 1 - grid.clamp(min=0)], 2)
    counted, used = count_codes([several], [(2, 2)], 1)
    assert used == 2 and torch.equal(counted[:, :2], counted[:, 2:].flip(1))
    _, used = count_codes([several], [(4000, 4000)], 1)
    assert used == 1  # what is more than can be fitted is left out


def test_without_time_or_labels_it_does_not_apply():
    seen = subject(True)
    seen.splits.signal.spatial_dims = 2
    assert "over time" in CodeProbes().applies(seen)
    seen = subject(False)
    seen.splits.condition = None
    assert "no labels" in CodeProbes().applies(seen)
