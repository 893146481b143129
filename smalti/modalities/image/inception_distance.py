"""FID and KID of samples and reconstructions, as a measurement."""

from __future__ import annotations

import logging
from typing import ClassVar

from smalti.errors import InputError
from smalti.modalities.image.inception import (
    Inception,
    inception_distances,
    inception_features,
    load_inception,
)
from smalti.reporting.blocks import Table
from smalti.reporting.figures import Figure, figure, number, protocols
from smalti.reporting.measurement import SampleComparison, Subject
from smalti.reporting.section import Section

__all__ = ["InceptionDistance"]

logger = logging.getLogger(__name__)


class InceptionDistance(SampleComparison[Subject]):
    """Measures FID and KID against the test set, if Inception's weights are on this machine."""

    key: ClassVar[str] = "inception"
    title: ClassVar[str] = "FID and KID"
    chapter: ClassVar[str] = "Samples"

    def applies(self, subject: Subject) -> str | None:
        """See `Measurement.applies`."""
        return None

    def compares(self, subject: Subject) -> bool:
        """See `SampleComparison.compares`."""
        return isinstance(_network(subject), Inception)

    def run(self, subject: Subject) -> Section:
        """See `Measurement.run`."""
        network = _network(subject)
        if isinstance(network, str):
            raise InputError(network)
        if subject.compared < 2:
            raise InputError("it takes at least two images of each kind to compare.")
        logger.info("comparing samples with test images in Inception's features")
        section = self.section()
        test = inception_features(network, subject.test_batches())
        protocol = (
            f"Inception v3 pool features of 8-bit images resized to 299 × 299; "
            f"N = {number(subject.compared)} images of each line against the {subject.test_set}"
        )
        fid: dict[str, Figure] = {}
        kid: dict[str, Figure] = {}
        section.figures = {"fid": fid, "kid": kid}
        for name, images in subject.sets().items():
            with section.attempt(f"FID and KID of {subject.words[name]}", f"fid/{name}"):
                features = inception_features(network, images())
                distances = inception_distances(test, features, subject.seed)
                fid[name] = figure(distances.fid, "", f"{protocol}; a small N biases FID upwards")
                kid[name] = figure(
                    distances.kid, "", f"{protocol}; mean of 100 subsets of {distances.subset}"
                )
        section.blocks["inception"] = Table(
            ("Images", "FID", "KID"),
            {subject.titles[name]: (fid[name], kid[name]) for name in fid},
            subject.titles["prior"],
            protocols(section.figures),
        )
        return section


def _network(subject: Subject) -> Inception | str:
    """Returns the Inception network, loaded once, or a line why it is not there."""
    network: Inception | str = subject.kept(
        "inception",
        lambda: (
            load_inception(subject.device) if subject.limits.downloaded else "it was switched off."
        ),
    )
    return network
