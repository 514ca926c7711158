"""The trained object: forward modes, averaging, prediction, precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ferbench.errors import UserError
from ferbench.models.ssl import SSLModel
from ferbench.thresholds import RunContext

SIZE, CLASSES, DIM = 8, 3, 4


class TinyNet(nn.Module):
    """Convolution, norm, pooling; remembers the memory format that its convolution was given."""

    num_features = DIM

    def __init__(self, norm: nn.Module | None = None):
        super().__init__()
        self.conv = nn.Conv2d(3, DIM, 3, padding=1)
        self.norm = norm or nn.Identity()
        self.seen_channels_last: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen_channels_last.append(images.is_contiguous(memory_format=torch.channels_last))
        return self.norm(self.conv(images)).relu().mean(dim=(2, 3))


def make_model(norm: nn.Module | None = None, algorithm: dict | None = None, **options: Any) -> SSLModel:
    torch.manual_seed(0)
    config = algorithm or dict(type="FixMatch", threshold=0.0)
    model = SSLModel(TinyNet(norm), config, dict(size=SIZE), num_classes=CLASSES, **options)
    model.bind(RunContext(CLASSES, num_labeled=10, num_unlabeled=20, max_iters=100, class_counts=(4, 3, 3)))
    return model


def images(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)


def make_batch(unlabeled: bool = True) -> dict[str, Any]:
    labels = torch.tensor([0, 2])
    batch = {"labeled": {"images": {"weak": images(2, 0)}, "labels": labels, "index": torch.arange(2)}}
    if unlabeled:
        views = {"weak": images(5, 1), "strong": images(5, 2)}
        batch["unlabeled"] = {"images": views, "index": torch.arange(5)}
    return batch


def float_views(model: SSLModel) -> dict[str, Tensor]:
    return {
        name: model.preprocess.normalize(images(n, n))
        for name, n in (("labeled", 2), ("weak", 3), ("strong", 4))
    }


def test_split_and_joint_agree_without_batch_norm() -> None:
    split, joint = (make_model(nn.GroupNorm(2, DIM), forward_mode=mode) for mode in ("split", "joint"))
    views = float_views(split)
    for needed in ({"labeled", "strong"}, set(views), {"strong"}):
        outputs = [model.passes(views, needed) for model in (split, joint)]
        assert outputs[0].keys() == outputs[1].keys() == views.keys()
        for name, x in views.items():
            assert outputs[0][name].logits.shape == (len(x), CLASSES)
            assert outputs[0][name].features.shape == (len(x), DIM)
            for ours, theirs in zip(outputs[0][name][:2], outputs[1][name][:2], strict=True):
                torch.testing.assert_close(ours, theirs)
                assert ours.requires_grad == theirs.requires_grad == (name in needed)
                assert (ours.grad_fn is not None) == (name in needed)
        # Each view's output is that of the view passed alone.
        torch.testing.assert_close(outputs[0]["weak"].logits, split.network(views["weak"]).logits)


def test_split_and_joint_train_alike_without_batch_norm() -> None:
    gradients = []
    for mode in ("split", "joint"):
        model = make_model(forward_mode=mode)
        model(make_batch(), 0).loss.backward()
        gradients.append([p.grad for p in model.network.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        assert ours.abs().sum() > 0
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("mode", "passes"), [("split", 2), ("joint", 1)])
def test_batch_norm_sees_each_pass_apart(mode, passes) -> None:
    model = make_model(nn.BatchNorm2d(DIM), forward_mode=mode).train()
    views = float_views(model)
    outputs = model.passes(views, {"labeled", "strong"})
    norm = model.network.backbone.norm
    assert norm.num_batches_tracked == passes

    together = [["weak"], ["labeled", "strong"]] if mode == "split" else [["labeled", "weak", "strong"]]
    reference, mean = make_model(nn.BatchNorm2d(DIM)).train(), torch.zeros(DIM)
    for names in together:
        x = torch.cat([views[name] for name in names])
        expected = reference.network(x).logits.split([len(views[name]) for name in names])
        for name, logits in zip(names, expected, strict=True):
            torch.testing.assert_close(outputs[name].logits, logits)
        mean = 0.9 * mean + 0.1 * reference.network.backbone.conv(x).mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, mean.detach())


def test_a_single_view_and_no_view() -> None:
    model = make_model()
    views = float_views(model)
    only = model.passes({"labeled": views["labeled"]}, ("labeled",))
    torch.testing.assert_close(only["labeled"].logits, model.network(views["labeled"]).logits)
    assert not model.passes({"weak": views["weak"]}, ())["weak"].logits.requires_grad


def test_step_of_fixmatch_by_hand() -> None:
    """Threshold 0: every item learns the class that its weak view is taken for."""
    model = make_model()
    batch = make_batch()
    result = model(batch, 0)
    x = {name: model.preprocess.normalize(v) for name, v in batch["unlabeled"]["images"].items()}
    labeled = model.network(model.preprocess.normalize(batch["labeled"]["images"]["weak"])).logits
    supervised = nn.functional.cross_entropy(labeled, batch["labeled"]["labels"])
    target = model.network(x["weak"]).logits.argmax(dim=1)
    unsupervised = nn.functional.cross_entropy(model.network(x["strong"]).logits, target)
    torch.testing.assert_close(result.loss, supervised + unsupervised)
    assert torch.equal(result.pseudo_labels.label, target)


def test_label_distributions_are_learnt_where_there_are_any() -> None:
    model = make_model(algorithm=dict(type="Supervised"))
    batch = make_batch(unlabeled=False)
    hard = model(batch, 0).loss
    one_hot = nn.functional.one_hot(batch["labeled"]["labels"], CLASSES).float()
    batch["labeled"]["targets"] = one_hot
    torch.testing.assert_close(model(batch, 0).loss, hard)
    batch["labeled"]["targets"] = torch.full((2, CLASSES), 1 / CLASSES)
    assert not torch.isclose(model(batch, 0).loss, hard)


def perturb(model: SSLModel) -> None:
    """Stand in for an optimizer step, and for batch-norm's update."""
    with torch.no_grad():
        for tensor in (*model.network.parameters(), *model.network.buffers()):
            tensor.add_(
                torch.rand_like(tensor) if tensor.is_floating_point() else 1
            )  # a variance stays positive


def test_average_by_hand() -> None:
    """Decay of update t: min(0.25, (1 + t) / (10 + t)) = 2/11, 3/12, then 0.25."""
    model = make_model(nn.BatchNorm2d(DIM), ema_decay=0.25)
    network, ema = model.network.state_dict(), model.ema_network.state_dict()  # views of the live tensors
    expected = {name: tensor.clone() for name, tensor in network.items()}
    assert any("running_var" in name for name in expected)
    for update, decay in ((1, 2 / 11), (2, 0.25), (3, 0.25), (4, 0.25)):
        perturb(model)
        model.update_ema(update)
        for (
            name,
            tensor,
        ) in network.items():  # batch-norm statistics are averaged, their integer counter is copied
            mixed = decay * expected[name] + (1 - decay) * tensor
            expected[name] = mixed if tensor.is_floating_point() else tensor.clone()
            torch.testing.assert_close(ema[name], expected[name])


@pytest.mark.parametrize(
    ("warmup", "updates", "decay"),
    [
        (True, 1, 2 / 11),
        (True, 89, 90 / 99),
        (True, 8_989, 8_990 / 8_999),  # the last update below 0.999
        (True, 8_990, 0.999),
        (False, 1, 0.999),
        (False, 10**6, 0.999),
    ],
)
def test_decay_warms_up_unless_switched_off(warmup, updates, decay) -> None:
    model = make_model(ema_warmup=warmup)
    before = model.ema_network.head.fc.weight.clone()
    perturb(model)
    model.update_ema(updates)
    expected = before + (1 - decay) * (model.network.head.fc.weight - before)
    torch.testing.assert_close(model.ema_network.head.fc.weight, expected.detach())


def test_constant_decay_by_hand() -> None:
    """Start 1, student 3, 5, 7, decay 0.5: 2, 3.5, 5.25."""
    model = make_model(ema_decay=0.5, ema_warmup=False)
    ours, theirs = model.network.head.fc.weight, model.ema_network.head.fc.weight
    with torch.no_grad():
        theirs.fill_(1.0)
        for update, (student, average) in enumerate([(3.0, 2.0), (5.0, 3.5), (7.0, 5.25)], start=1):
            ours.fill_(student)
            model.update_ema(update)
            assert theirs.unique().tolist() == [average]


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2, "0.999", float("nan"), None, True])
def test_a_decay_that_is_none_is_refused(decay) -> None:
    with pytest.raises(UserError, match="ema_decay="):
        make_model(ema_decay=decay)


def test_decay_zero_is_the_student() -> None:
    model = make_model(nn.BatchNorm2d(DIM), ema_decay=0.0)
    perturb(model)
    model.update_ema(5)
    for ours, theirs in zip(model.ema_network.parameters(), model.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_average_continues_after_loading_a_checkpoint() -> None:
    model, other = make_model(nn.BatchNorm2d(DIM)), make_model(nn.BatchNorm2d(DIM))
    other.update_ema(1)  # has listed its tensors
    perturb(model)
    other.load_state_dict(model.state_dict())
    for m in (model, other):
        m.update_ema(2)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_average_is_never_trained() -> None:
    model = make_model(nn.BatchNorm2d(DIM)).train()
    assert not any(p.requires_grad for p in model.ema_network.parameters())
    assert model.network.training
    assert not any(m.training for m in model.ema_network.modules())
    model(make_batch(), 0).loss.backward()
    assert all(p.grad is None for p in model.ema_network.parameters())
    assert model.ema_network.backbone.norm.num_batches_tracked == 0


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("weights", ["student", "ema"])
def test_prediction_changes_nothing(training, weights) -> None:
    model = make_model(nn.BatchNorm2d(DIM)).train(training)
    perturb(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    probs = model.predict(images(6, 9), weights)
    assert probs.shape == (6, CLASSES)
    assert probs.dtype == torch.float32
    assert not probs.requires_grad
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(6))
    assert [m.training for m in model.modules()] == modes
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    # One image at a time: evaluation mode uses no statistics of the batch.
    alone = torch.cat([model.predict(image[None], weights) for image in images(6, 9)])
    torch.testing.assert_close(alone, probs)


def test_prediction_uses_the_weights_that_it_was_asked_for() -> None:
    model = make_model()
    start = model.predict(images(3, 4), "ema")
    torch.testing.assert_close(model.predict(images(3, 4), "student"), start)
    perturb(model)
    torch.testing.assert_close(model.predict(images(3, 4), "ema"), start)
    assert not torch.allclose(model.predict(images(3, 4), "student"), start)


@pytest.mark.parametrize("mode", ["split", "joint"])
def test_channels_last_reaches_the_convolution(mode) -> None:
    model = make_model(forward_mode=mode)
    for network in (model.network, model.ema_network):
        assert network.backbone.conv.weight.is_contiguous(memory_format=torch.channels_last)
    model(make_batch(), 0)
    model.predict(images(2, 0), "student")
    seen = model.network.backbone.seen_channels_last
    assert len(seen) == (3 if mode == "split" else 2)
    assert all(seen)
    perturb(model)
    model.update_ema(1)
    assert model.ema_network.backbone.conv.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("mode", ["split", "joint"])
def test_bfloat16_step(mode) -> None:
    """Activations are bfloat16; loss, gradients, weights and state stay float32, and the loss is about the same."""
    algorithm = dict(type="FlexMatch", threshold=0.34)
    exact, half = (
        make_model(nn.BatchNorm2d(DIM), algorithm, forward_mode=mode, precision=precision).train()
        for precision in ("fp32", "bf16")
    )
    kinds: list[torch.dtype] = []
    half.network.register_forward_hook(lambda _module, _args, output: kinds.append(output.logits.dtype))
    expected, result = (model(make_batch(), 0) for model in (exact, half))
    assert set(kinds) == {torch.bfloat16}
    assert result.loss.dtype == torch.float32
    torch.testing.assert_close(result.loss, expected.loss, rtol=0.05, atol=0)
    result.loss.backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in half.network.parameters())
    assert half.predict(images(2, 0), "ema").dtype == torch.float32


def test_no_cast_weight_is_kept_from_a_pass_without_a_graph() -> None:
    """Where it is (torch 2.6 to 2.10), no convolution learns; `ferbench.testing.gradients` sees that in every algorithm."""
    model = make_model(precision="bf16")
    assert torch.is_autocast_cache_enabled()
    with model.autocast():
        assert not torch.is_autocast_cache_enabled()
        with torch.autocast("cpu", enabled=False):  # as losses have it
            assert not torch.is_autocast_cache_enabled()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_dtm_with_its_low_confidence_term_trains(precision) -> None:
    model = make_model(algorithm=dict(type="DTM"), precision=precision).train()
    batch = make_batch()
    batch["unlabeled"]["images"]["weak2"] = images(5, 3)
    result = model(batch, 0)
    assert result.pseudo_labels.weight.tolist() == [0.0] * 5
    assert result.parts["low_confidence"] > 0
    result.loss.backward()
    assert model.network.backbone.conv.weight.grad.abs().sum() > 0


def test_rule_state_is_part_of_the_model(tmp_path) -> None:
    algorithm = dict(type="FlexMatch", threshold=0.34)
    model, fresh = (make_model(algorithm=algorithm) for _ in "12")
    model(make_batch(), 0)
    assert model.algorithm.threshold.counts[0] < 20
    torch.save(model.state_dict(), tmp_path / "model.pth")
    fresh.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    assert torch.equal(fresh.algorithm.threshold.record, model.algorithm.threshold.record)
    torch.testing.assert_close(fresh(make_batch(), 1).loss, model(make_batch(), 1).loss, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("forward_mode", "both"), ("batch_norm", "sync"), ("precision", "float16"), ("ema_warmup", "no")],
)
def test_unknown_choice_is_named(name, value) -> None:
    with pytest.raises(UserError, match=f"model.{name} is '{value}'"):
        make_model(**{name: value})


class OneByOne(nn.Module):
    """Batch-norm on a map of 1 x 1."""

    num_features = DIM

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, DIM, SIZE), nn.BatchNorm2d(DIM))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).flatten(1)


@pytest.mark.parametrize(("labeled", "unlabeled"), [(1, 4), (4, 1), (1, 1)])
@pytest.mark.parametrize("mode", ["split", "joint"])
def test_a_batch_of_one_for_batch_norm_is_one_message(labeled: int, unlabeled: int, mode: str) -> None:
    """In either stream, wherever the streams pass apart; and what it advises works."""
    model = SSLModel(OneByOne(), dict(type="FixMatch"), dict(size=SIZE), CLASSES, forward_mode=mode)
    model.bind(RunContext(CLASSES, num_labeled=10, num_unlabeled=20, max_iters=100, class_counts=(4, 3, 3)))

    def step(labeled: int, unlabeled: int) -> Tensor:
        index = torch.arange
        views = {"weak": images(unlabeled, 1), "strong": images(unlabeled, 2)}
        return model({
            "labeled": {"images": {"weak": images(labeled, 0)}, "labels": torch.zeros(labeled).long(), "index": index(labeled)},
            "unlabeled": {"images": views, "index": index(unlabeled)},
        }, 0).loss  # fmt: skip

    if mode == "joint":
        step(labeled, unlabeled)
        return
    if unlabeled == 1:
        with pytest.raises(UserError, match="one value per channel") as error:
            step(labeled, unlabeled)
        assert "train_dataloader.batch_size" in str(error.value)
        assert "weights_only" not in str(error.value)
    step(2, 2)
