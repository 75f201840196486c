"""The card's noise without the card: Philox here against CUDA's own generator, where there is a card."""

import pytest
import torch
from sd_concord.core.sampling import image_noise

FAR = 1e-5
"""CUDA takes the sine and cosine from the card's own tables, which are good to 2^-21 and no processor's."""
SEEDS = (0, 1, 42, 123456789, 2**32 - 1, 2**63 + 7)
SHAPES = ((4, 8, 8), (4, 64, 64), (4, 96, 152), (4, 128, 128))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here to draw the same noise")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_philox_is_the_cards_generator(seed, shape):
    """Start and steps, of one generator that goes on."""
    card = torch.Generator("cuda").manual_seed(seed)
    ours = image_noise(shape, [seed], "philox")
    for drawn in (ours.first()[0], ours.next()[0], ours.next()[0]):
        wanted = torch.randn(shape, generator=card, device="cuda").cpu()
        far = (drawn - wanted).abs()
        print(f"{(far == 0).double().mean():.2%} equal to the bit, at most {far.max():.1e} apart")
        assert float(far.max()) < FAR
