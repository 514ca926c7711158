"""How an algorithm runs the classifier: further heads, the averaged weights, frozen batch-norm statistics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ferbench.algorithms import Algorithm, Batch, Network, StepResult, Views
from ferbench.errors import UserError
from ferbench.models import ProjectionHead
from ferbench.models.ssl import SSLModel
from ferbench.thresholds import RunContext

SIZE, CLASSES, DIM = 8, 3, 5


class NormNet(nn.Module):
    num_features = DIM

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, DIM, 3), nn.BatchNorm2d(DIM)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)).relu().mean(dim=(2, 3))


class TwoHeads(Algorithm):
    """Learns with a second head, which predicts too."""

    def __init__(self, head: str = "second"):
        super().__init__()
        self.head = head

    @property
    def views(self) -> Views:
        return Views()

    @property
    def prediction_head(self) -> str:
        return self.head

    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        return {self.head: nn.Linear(num_features, num_classes)}

    def step(self, network: Network, batch: Batch) -> StepResult:
        output = network({"labeled": batch.labeled["weak"]}, ("labeled",))["labeled"]
        return StepResult(nn.functional.cross_entropy(output.heads[self.head], batch.labels))


@pytest.fixture
def model() -> SSLModel:
    torch.manual_seed(0)
    model = SSLModel(NormNet(), dict(type=TwoHeads), dict(size=SIZE), num_classes=CLASSES, ema_decay=0.5)
    model.bind(RunContext(CLASSES, num_labeled=4, num_unlabeled=0, max_iters=10, class_counts=(2, 1, 1)))
    return model.train()


def views(*sizes: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {f"v{i}": torch.randn(n, 3, SIZE, SIZE, generator=generator) for i, n in enumerate(sizes)}


def test_a_head_is_trained_averaged_and_predicts(model) -> None:
    images = torch.randint(0, 256, (4, SIZE, SIZE, 3), dtype=torch.uint8)
    labeled = {"images": {"weak": images}, "labels": torch.tensor([0, 1, 2, 0]), "index": torch.arange(4)}
    model({"labeled": labeled}, 0).loss.backward()
    head = model.network.heads["second"]
    assert head.weight.grad.abs().sum() > 0
    assert model.network.head.fc.weight.grad is None  # the classifier's own is not in this loss
    assert {"network.heads.second.weight", "ema_network.heads.second.weight"} <= model.state_dict().keys()

    with torch.no_grad():
        head.weight.add_(1.0)
        model.update_ema(1000)
    averaged = model.ema_network.heads["second"].weight
    torch.testing.assert_close(averaged, head.weight - 0.5)
    for weights, network in (("student", model.network), ("ema", model.ema_network)):
        network.eval()
        features = network(model.preprocess.normalize(images)).features
        expected = network.heads["second"](features).softmax(dim=1)
        torch.testing.assert_close(model.predict(images, weights), expected)


def test_outputs_are_cut_into_views_with_their_heads(model) -> None:
    model.network.eval()
    x = views(2, 3)
    outputs = model.passes(x, ("v1",))
    for name, images in x.items():
        alone = model.network(images)
        torch.testing.assert_close(outputs[name].heads["second"], alone.heads["second"])
        assert outputs[name].heads["second"].requires_grad == (name == "v1")


def test_a_head_that_exists_already() -> None:
    class Twice(TwoHeads):
        def __init__(self) -> None:
            super().__init__()
            self.part = TwoHeads()

    with pytest.raises(UserError, match="two parts of the algorithm want a head named 'second'"):
        SSLModel(NormNet(), dict(type=Twice), dict(size=SIZE), num_classes=CLASSES)


class Projecting(TwoHeads):
    """Two parts that ask for a projection."""

    def __init__(self, dims: tuple[int, int]) -> None:
        super().__init__("projection")
        self.dim = dims[0]
        if len(dims) > 1:
            self.part = Projecting(dims[1:])

    def heads(self, num_features: int, num_classes: int) -> dict[str, nn.Module]:
        return {"projection": ProjectionHead(num_features, self.dim)}


def test_parts_that_want_the_same_projection_share_it() -> None:
    config = dict(type=Projecting, dims=(4, 4))
    model = SSLModel(NormNet(), config, dict(size=SIZE), num_classes=CLASSES)
    assert list(model.network.heads) == ["projection"]
    with pytest.raises(UserError, match="two parts of the algorithm want a head named 'projection'"):
        SSLModel(NormNet(), dict(type=Projecting, dims=(4, 6)), dict(size=SIZE), num_classes=CLASSES)


def test_the_teacher_is_the_averaged_classifier_in_evaluation_mode(model) -> None:
    x = views(4)
    with torch.no_grad():
        model.network.head.fc.weight.add_(1.0)
    before = model.ema_network.backbone.norm.running_mean.clone()
    output = model.passes.teacher(x)["v0"]
    assert not output.logits.requires_grad
    torch.testing.assert_close(output.logits, model.ema_network.eval()(x["v0"]).logits)
    assert not torch.allclose(output.logits, model.network(x["v0"]).logits)
    torch.testing.assert_close(model.ema_network.backbone.norm.running_mean, before, rtol=0, atol=0)


def test_the_teacher_in_training_mode_normalises_by_the_batch_and_keeps_its_statistics(model) -> None:
    x, backbone = views(4), model.ema_network.backbone
    before = {name: value.clone() for name, value in model.ema_network.state_dict().items()}
    output = model.passes.teacher(x, training=True)["v0"]
    assert not output.logits.requires_grad
    maps = backbone.conv(x["v0"])
    mean, var = maps.mean(dim=(0, 2, 3), keepdim=True), maps.var(dim=(0, 2, 3), unbiased=False, keepdim=True)
    expected = ((maps - mean) / (var + backbone.norm.eps).sqrt()).relu().mean(dim=(2, 3))
    torch.testing.assert_close(output.features, expected)
    for name, value in model.ema_network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert not any(m.training for m in model.ema_network.modules())
    assert backbone.norm.track_running_stats


@pytest.mark.parametrize("update", [True, False])
def test_a_pass_may_stay_out_of_batch_norm_statistics(update, model) -> None:
    norm = model.network.backbone.norm
    x, before = views(6), norm.running_mean.clone()
    outputs = model.passes(x, ("v0",), update_statistics=update)
    assert torch.equal(norm.running_mean, before) != update
    assert norm.track_running_stats
    # Either way the batch normalises itself.
    torch.testing.assert_close(outputs["v0"].logits, model.network(x["v0"]).logits)


def test_a_new_generation_starts_from_the_first_weights(monkeypatch) -> None:
    monkeypatch.setattr(TwoHeads, "generation", property(lambda _: 5))
    model = SSLModel(NormNet(), dict(type=TwoHeads), dict(size=SIZE), num_classes=CLASSES)
    first = {k: v.clone() for k, v in model.network.state_dict().items()}
    model.bind(RunContext(CLASSES, num_labeled=4, num_unlabeled=0, max_iters=10, class_counts=(2, 1, 1)))
    with torch.no_grad():
        for tensor in (*model.network.parameters(), *model.ema_network.parameters()):
            tensor.add_(1.0)
    model.start_anew()
    for network in (model.network, model.ema_network):
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, first[name])


def test_a_head_learns_from_features_that_are_asked_again(model) -> None:
    """From detached features, of a view that passed without a graph: the head alone gets a gradient."""
    passes = model.passes
    features = passes(views(2), needs_gradient=())["v0"].features
    again = passes.head("second", features)
    torch.testing.assert_close(again, passes(views(2), ())["v0"].heads["second"])
    again.sum().backward()
    assert model.network.heads["second"].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.network.backbone.parameters())
