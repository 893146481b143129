"""A run is loaded and used in the light install, as a program.

    python light_load.py RUN_OF_TOKENS RUN_OF_VECTORS PICTURE

`tests/test_light_install.py` runs it in a bare environment, and reads the JSON that it prints.
"""

import json
import sys

import torch

import smalti


def said(call):
    """What a call says that needs more than the light install."""
    try:
        call()
    except smalti.InputError as error:
        return str(error)


def main(tokens, vectors, picture):
    """Prints what the models of two runs do, as JSON."""
    x = torch.linspace(-0.9, 0.9, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)
    model, vae = smalti.load(tokens), smalti.load(vectors)
    indices = model.encode(x)
    known = model.known_tokens(x[:1], torch.arange(16)[None, :, None].expand(1, 16, 16) < 8)
    found = {
        "indices": indices.tolist(),
        "decoded": model.decode(indices).double().sum().item(),
        "of arrays": torch.equal(model.encode(x.double().numpy()), indices),
        "drawn": model.sample_latents(3, "10:10", seed=0, temperature=0.9).tolist(),
        "signals": list(model.sample(2, ["10:10", "3:30"], seed=0).shape),
        "uniform": model.sample_latents(2, prior="uniform", seed=0).tolist(),
        "completed": list(model.sample(2, "10:10", known=known, seed=0).shape),
        "vectors": vae.sample(2, seed=0).double().sum().item(),
        "traversed": list(vae.traverse(x[0], 2, 3).shape),
        "said": {
            "histogram": said(lambda: model.sample(1, prior="histogram")),
            "evaluate": said(model.evaluate),
            "file": said(lambda: model.encode(picture)),
            "word": said(lambda: model.sample(1, "half past")),
        },
        "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
