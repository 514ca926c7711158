"""VAT against NumPy, and its perturbation against the exact curvature of the divergence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ferbench.algorithms import VAT, Batch
from ferbench.contracts import Output
from ferbench.functional.randomness import derive_seed
from ferbench.lifecycle import RunContext, bind

CLASSES, ITEMS, SEED = 3, 4, 7
CONTEXT = RunContext(CLASSES, 4, num_unlabeled=9, max_iters=100, class_counts=(2, 1, 1), seed=SEED)


class Net:
    """Runs a module; remembers what it was shown."""

    def __init__(self, module: nn.Module):
        self.module = module
        self.calls: list[tuple[str, bool, bool]] = []
        self.images: list[Tensor] = []

    def __call__(self, views, needs_gradient, update_statistics=True) -> dict[str, Output]:
        outputs = {}
        for view, x in views.items():
            self.calls.append((view, view in needs_gradient, update_statistics))
            self.images.append(x.detach())
            with torch.set_grad_enabled(view in needs_gradient):
                outputs[view] = Output(self.module(x), x)
        return outputs

    def teacher(self, views, training=False) -> dict[str, Output]:
        raise AssertionError


def make(**options) -> VAT:
    algorithm = VAT(**options)
    bind(algorithm, CONTEXT)
    return algorithm


def make_batch(labeled: Tensor, weak: Tensor, iteration: int) -> Batch:
    y = torch.arange(len(labeled)) % CLASSES
    return Batch({"weak": labeled}, y, y, {"weak": weak}, torch.arange(len(weak)), y, iteration)


def noise(iteration: int, *shape: int) -> np.ndarray:
    """What the power iteration starts from."""
    generator = torch.Generator().manual_seed(derive_seed(SEED, "vat", iteration))
    return torch.randn(shape, generator=generator).numpy().astype(np.float64)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_step_against_numpy(rounds) -> None:
    """A linear network: the gradient of KL(q || softmax(W (x + r))) is W^T (p - q)."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(5, CLASSES))
    module = nn.Linear(5, CLASSES, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(w.T))
    labeled, weak = (rng.normal(size=(n, 5)).astype(np.float32) for n in (2, ITEMS))
    options = dict(eps=2.0, xi=0.1, lambda_u=4.0, ramp=0.5, entropy=0.5)
    network = Net(module)
    batch = make_batch(torch.from_numpy(labeled), torch.from_numpy(weak), iteration=10)
    result = make(power_iterations=rounds, **options).step(network, batch)

    x, q = weak.astype(np.float64), softmax(weak @ w)
    d = unit(noise(10, ITEMS, 5))
    for _ in range(rounds):
        d = unit((softmax((x + 0.1 * d) @ w) - q) @ w.T)
    perturbed = softmax((x + 2.0 * d) @ w)
    divergence = (q * np.log(q / perturbed)).sum(axis=1).mean()
    entropy = -(q * np.log(q)).sum(axis=1).mean()
    supervised = -np.log(softmax(labeled @ w))[np.arange(2), [0, 1]].mean()
    assert result.parts["unsupervised"].item() == pytest.approx(divergence, rel=1e-3)
    assert result.parts["entropy"].item() == pytest.approx(entropy, abs=1e-6)
    total = supervised + 4.0 * 0.2 * divergence + 0.5 * entropy  # a fifth of the ramp of 50 iterations
    assert result.loss.item() == pytest.approx(total, rel=1e-3)
    np.testing.assert_allclose(result.pseudo_labels.target, q, atol=1e-6)
    assert result.pseudo_labels.weight.tolist() == [1.0] * ITEMS
    lengths = (network.images[-1] - batch.unlabeled["weak"]).norm(dim=1)
    np.testing.assert_allclose(lengths, 2.0, rtol=1e-5)
    assert network.calls == [  # only the labeled images count in batch-norm's statistics
        ("labeled", True, True),
        ("weak", True, False),
        ("perturbed", False, False),
        *[("perturbed", True, False)] * (rounds + 1),
    ]
    result.loss.backward()
    assert module.weight.grad.isfinite().all()


def test_without_its_entropy_the_weak_view_gets_no_gradient() -> None:
    network = Net(nn.Linear(5, CLASSES))
    weak = torch.randn(ITEMS, 5, requires_grad=True)
    algorithm = make(entropy=0.0)
    result = algorithm.step(network, make_batch(torch.randn(2, 5), weak, iteration=0))
    assert ("weak", False, False) in network.calls
    assert result.parts.keys() == {"supervised", "unsupervised"}


def curved() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, 2), nn.Tanh(), nn.Flatten(),
                         nn.Linear(8 * 25, CLASSES))  # fmt: skip


def exact(module: nn.Module, images: Tensor, start: np.ndarray) -> Tensor:
    """``J^T (diag(p) - p p^T) J d``, the curvature of the divergence at r = 0 times d, in float64."""
    x, d = images.double().requires_grad_(), torch.from_numpy(start)
    logits = module.double()(x)
    probs = logits.softmax(dim=1).detach()
    probe = torch.zeros_like(logits, requires_grad=True)
    (pulled,) = torch.autograd.grad(logits, x, probe, create_graph=True)
    (pushed,) = torch.autograd.grad(pulled, probe, d, retain_graph=True)
    metric = probs * pushed - probs * (probs * pushed).sum(dim=1, keepdim=True)
    (product,) = torch.autograd.grad(logits, x, metric)
    module.float()
    return product.float().flatten(1)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_perturbation_follows_the_exact_curvature(bfloat16) -> None:
    """Also where the step runs in bfloat16, whose rounding is larger than the perturbation's effect."""
    module = curved()
    images = torch.randn(ITEMS, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        direction = make().adversary.direction(Net(module), images, number=5).flatten(1)
    torch.testing.assert_close(direction.norm(dim=1), torch.ones(ITEMS))
    product = exact(module, images, noise(5, *images.shape))
    assert (nn.functional.cosine_similarity(direction, product) > 0.98).all()


def test_the_step_of_the_paper_is_lost_in_rounding() -> None:
    """Images of 48 px: a step of 1e-6 moves a pixel by 1e-8, less than the distance between float32 numbers near 1."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.Tanh(), nn.Conv2d(8, 8, 3, 2), nn.Tanh(), nn.Flatten(),
                           nn.Linear(8 * 25, CLASSES))  # fmt: skip
    images = torch.randn(ITEMS, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    product = exact(module, images, noise(5, *images.shape))
    cosine = {
        xi: nn.functional.cosine_similarity(
            make(xi=xi).adversary.direction(Net(module), images, 5).flatten(1), product
        ).mean().item()
        for xi in (1e-6, 0.3)
    }  # fmt: skip
    assert cosine[1e-6] < 0.6
    assert cosine[0.3] > 0.98


def test_both_predictions_have_the_same_dropout_masks() -> None:
    """Else their difference would be that of the masks. A linear network shows the mask: pixels without gradient."""
    torch.manual_seed(0)
    head = nn.Linear(40, CLASSES, bias=False)
    module = nn.Sequential(nn.Dropout(0.5), head)
    weak = torch.randn(ITEMS, 40)
    before = torch.get_rng_state()
    direction = make(xi=0.01).adversary.direction(Net(module), weak, number=0)
    assert torch.equal(torch.get_rng_state(), before)  # the step's own draws stay what they would be
    mask = (direction != 0).double().numpy()
    assert 0.3 < mask.mean() < 0.7
    x, d, w = weak.double().numpy(), unit(noise(0, ITEMS, 40)), head.weight.detach().double().numpy().T
    q, p = (softmax((2 * mask * y) @ w) for y in (x, x + 0.01 * d))
    np.testing.assert_allclose(direction, unit(2 * mask * ((p - q) @ w.T)), atol=1e-3)


def test_a_prediction_that_nothing_changes() -> None:
    module = nn.Linear(5, CLASSES)
    with torch.no_grad():
        module.weight.zero_()
    network = Net(module)
    result = make().step(network, make_batch(torch.randn(2, 5), torch.randn(1, 5), iteration=50))
    assert result.parts["unsupervised"].item() == pytest.approx(0.0, abs=1e-6)
    result.loss.backward()
    assert module.weight.grad.isfinite().all()
