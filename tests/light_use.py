"""What the light install is for, as a program: quantizers, autoencoders, priors, saved models.

`tests/test_light_install.py` runs it in a bare environment, and reads the JSON that it prints.
"""

import json
import sys
import tempfile
import time

start = time.process_time()
import torch  # noqa: E402

torch_alone = time.process_time() - start
import smalti.artifacts  # noqa: E402
import smalti.autoencoders  # noqa: E402
import smalti.nn  # noqa: E402
import smalti.priors  # noqa: E402
import smalti.quantizers  # noqa: E402, F401

everything = time.process_time() - start

from smalti.artifacts import load_model, save_model  # noqa: E402
from smalti.autoencoders import DiscreteAutoencoder  # noqa: E402
from smalti.conditions import Label  # noqa: E402
from smalti.modalities.image import Image  # noqa: E402
from smalti.networks import ConvDecoder, ConvEncoder, Features  # noqa: E402
from smalti.priors import PixelCNN  # noqa: E402
from smalti.quantizers import EMACodebook, VectorQuantizer  # noqa: E402

SIZE, DIM = 16, 4

torch.manual_seed(0)
signal = Image(1, (8, 8))
sizes = {"hidden": 8, "residual_hidden": 4}
tokenizer = DiscreteAutoencoder(
    ConvEncoder(Features(1), DIM, **sizes),
    VectorQuantizer(EMACodebook(codebook_size=SIZE, dim=DIM)),
    ConvDecoder(Features(1), DIM, **sizes),
    signal,
)
optimizer = torch.optim.Adam(tokenizer.parameters(), lr=1e-2)
x = torch.linspace(-0.9, 0.9, 64).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()  # greys
history = []
for _ in range(30):
    out = tokenizer(x)
    loss = (out.x_hat - x).square().mean() + 0.25 * out.losses["commitment"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    tokenizer.update()
    history.append(loss.item())

tokenizer.eval()
indices = tokenizer.encode(x)
prior = PixelCNN(SIZE, tuple(indices.shape[1:]), Label(["one", "other"]), hidden=8, layers=2)
prior.loss(indices, torch.arange(64) % 2).backward()
drawn = prior.eval().sample(3, torch.tensor([0, 1, 1]))

with tempfile.TemporaryDirectory() as folder:
    save_model(tokenizer, f"{folder}/tokenizer")
    save_model(prior, f"{folder}/prior")
    again, prior_again = load_model(f"{folder}/tokenizer"), load_model(f"{folder}/prior")

with torch.no_grad():
    same = torch.equal(again.decode(drawn), tokenizer.decode(drawn))
    context = torch.tensor([0, 1, 1])
    same &= torch.equal(prior_again.loss(drawn, context), prior.loss(drawn, context))

print(
    json.dumps(
        {
            "torch": torch_alone,
            "everything": everything,
            "modules": sorted({name.partition(".")[0] for name in sys.modules}),
            "first": history[0],
            "last": history[-1],
            "drawn": list(drawn.shape),
            "same": same,
        }
    )
)
