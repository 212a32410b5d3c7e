"""SCA: scores by hand, the prune-and-regrow rule, its budget and its ablations."""

from __future__ import annotations

from typing import Any

import pytest
import snntorch as snn
import torch
from spikingjelly.activation_based import functional, neuron
from test_contract import EVERY, Loop
from torch import Tensor, nn

import microglia as mg
import zoo
from microglia.methods import SCA
from microglia.methods.parts.regrowth import GradientSignal
from microglia.methods.parts.scores import ActivityScore
from zoo import Steps, drive

TAU = 2.5


class Watched(nn.Module):
    """One convolution, one neuron layer, and a reader; the current is kept to step by hand."""

    def __init__(self, node: nn.Module) -> None:
        super().__init__()
        self.conv, self.node, self.fc = nn.Conv2d(2, 6, 3), node, nn.Linear(6, 3)
        self.current: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = functional.seq_to_ann_forward(x, self.conv) if x.dim() == 5 else self.conv(x)
        self.current = y.detach().clone()
        return self.fc(self.node(y).mean((-1, -2)))


def by_hand(
    current: Tensor, *, charge: Any, reset: float | None, threshold: float = 1.0
) -> dict[str, Tensor]:
    """Membrane potentials, spikes and released potentials of a current `[T, N, C, H, W]`."""
    v = torch.full_like(current[0], 0.0 if reset is None else reset)
    hs, ss, vs = [], [], []
    for x in current:
        h = charge(v, x)
        s = (h >= threshold).to(h)
        v = h - threshold * s if reset is None else torch.where(s > 0, torch.full_like(h, reset), h)
        hs.append(h)
        ss.append(s)
        vs.append(v)
    h, s, v = torch.stack(hs), torch.stack(ss), torch.stack(vs)
    dims = (0, 1, 3, 4)
    return {
        "membrane": h.abs().mean(dims),
        "released": (s + v.abs()).mean(dims),
        "rate": s.mean(dims),
    }


def nodes(reset: float | None) -> dict[str, tuple[nn.Module, Any]]:
    rest = 0.0 if reset is None else reset
    plif = neuron.ParametricLIFNode(init_tau=TAU, v_reset=reset)
    return {
        "IF": (neuron.IFNode(v_reset=reset), lambda v, x: v + x),
        "LIF": (neuron.LIFNode(TAU, v_reset=reset), lambda v, x: v + (x - (v - rest)) / TAU),
        "LIF, undecayed input": (
            neuron.LIFNode(TAU, decay_input=False, v_reset=reset),
            lambda v, x: v - (v - rest) / TAU + x,
        ),
        "PLIF": (plif, lambda v, x: v + (x - (v - rest)) / TAU),
    }


@pytest.mark.parametrize("kind", ["membrane", "released", "rate"])
@pytest.mark.parametrize("reset", [0.0, -0.2, None])
@pytest.mark.parametrize("node", ["IF", "LIF", "LIF, undecayed input", "PLIF"])
@pytest.mark.parametrize("mode", ["m", "s"])
def test_scores_are_what_stepping_by_hand_gives(
    kind: Any, reset: float | None, node: str, mode: str
) -> None:
    module, charge = nodes(reset)[node]
    module.step_mode = mode
    net = Watched(module).train()
    x = torch.rand(3, 2, 2, 6, 6) * 3
    with torch.no_grad():
        net.conv.bias.uniform_(0.3, 1.5)
    structure = mg.analyse(net, x if mode == "m" else x[0])
    score = ActivityScore(net, structure, kind=kind, samples=None)
    if mode == "m":
        net(x)
        current = net.current
    else:
        seen = []
        for x_t in x:
            net(x_t)
            seen.append(net.current)
        current = torch.stack(seen)
    expected = by_hand(current, charge=charge, reset=reset)
    assert expected["rate"].sum() > 0
    assert torch.allclose(score.mean()["conv"], expected[kind], atol=1e-5)


def test_snntorch_scores_are_its_own_membrane_potential() -> None:
    net = Watched(snn.Leaky(beta=0.8, init_hidden=True)).train()
    structure = mg.analyse(net, torch.rand(1, 2, 6, 6))
    score = ActivityScore(net, structure, kind="membrane", samples=None)
    total = []
    for _ in range(4):
        net(torch.rand(2, 2, 6, 6))
        total.append(net.node.mem.detach().abs())
    expected = torch.stack(total).mean((0, 1, 3, 4))
    assert torch.allclose(score.mean()["conv"], expected, atol=1e-6)


def test_a_neuron_that_charges_in_its_own_way_is_not_taken_for_its_parent() -> None:
    class Leakless(neuron.LIFNode):
        def neuronal_charge(self, x: Tensor) -> None:
            self.v = self.v + 3 * x

    model, x = Watched(Leakless(step_mode="m")), torch.rand(3, 2, 2, 6, 6)
    pruner = SCA(model, sparsity=0.5, every=1, example_input=x)
    with pytest.raises(mg.ConfigError, match=r"node.*score='rate'"):
        model.train()(x)
    pruner.detach()


def test_only_training_counts_and_only_the_first_samples() -> None:
    module, charge = nodes(0.0)["LIF"]
    module.step_mode = "m"
    net = Watched(module).train()
    x = torch.rand(3, 4, 2, 6, 6) * 3
    structure = mg.analyse(net, x)
    score = ActivityScore(net, structure, kind="membrane", samples=1)
    net.eval()
    net(x * 2)
    mg.reset(net)
    net.train()
    net(x)
    expected = by_hand(net.current[:, :1], charge=charge, reset=0.0)["membrane"]
    assert torch.allclose(score.mean()["conv"], expected, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_rule_prunes_the_lowest_scores_and_regrows_the_largest_gradients(seed: int) -> None:
    loop = Loop(SCA, "chain", sparsity=0.5, regrow=0.2, seed=seed, samples=None)
    loop.run(EVERY - 1)
    loop.backward()
    loop.optimizer.step()
    pruner = loop.pruner
    assert isinstance(pruner, SCA)
    scores, signal = pruner._seen()
    scores = {n: s.clone() for n, s in scores.items()}
    signal = {n: s.clone() for n, s in signal.items()}
    pruner.step()
    keep = pruner.masks.keep()
    total = sum(s.numel() for s in scores.values())
    left, grown = total - round(0.5 * total), round(0.2 * total)

    ranked = sorted(
        ((float(s), n, i) for n, v in scores.items() for i, s in enumerate(v)), reverse=True
    )
    firsts = {n: max(range(len(s)), key=lambda i, s=s: float(s[i])) for n, s in scores.items()}
    survivors = set(firsts.items())
    for _, n, i in ranked:
        if len(survivors) < left - grown:
            survivors.add((n, i))
    others = [(n, i) for _, n, i in ranked if (n, i) not in survivors]
    others.sort(key=lambda c: float(signal[c[0]][c[1]]), reverse=True)
    expected = survivors | set(others[:grown])
    assert {(n, i) for n, m in keep.items() for i in m.nonzero().flatten().tolist()} == expected


def test_the_signal_is_the_gradient_of_the_norms_scale() -> None:
    loop = Loop(SCA, "chain", sparsity=0.5)
    loop.run(EVERY)
    signal = loop.pruner._parts["signal"]
    assert isinstance(signal, GradientSignal)
    total = torch.zeros(8)
    for _ in range(2):
        loop.backward()
        total += loop.model.get_submodule("body.1").weight.grad
        loop.optimizer.step()
    assert torch.allclose(signal.mean()["body.0"], (total / 2).abs(), atol=1e-7)
    closed = ~loop.pruner.masks.keep()["body.0"]
    assert (total[closed] != 0).any(), "closed channels must have a gradient through their gate"


def test_without_a_norm_the_signal_is_the_gradient_times_the_current() -> None:
    torch.manual_seed(0)
    net = Steps(Watched(neuron.LIFNode()), 3)
    drive(net)
    x = torch.rand(4, 2, 6, 6)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    pruner = SCA(net, sparsity=0.5, example_input=x, optimizer=optimizer, every=1, samples=None)
    loss = net(x).square().sum()
    signal = pruner._parts["signal"]
    loss.backward()
    conv = net.body.conv
    # dL/dscale of a scale in front of the neuron equals sum dL/dy * y = <dL/dw, w> + <dL/db, b>.
    expected = (conv.weight.grad * conv.weight).sum((1, 2, 3)) + conv.bias.grad * conv.bias
    optimizer.step()
    assert isinstance(signal, GradientSignal)
    assert torch.allclose(signal.mean()["body.conv"], expected.abs(), rtol=1e-4, atol=1e-6)


def test_an_overflow_that_the_scaler_skips_leaves_the_signal_as_it_was() -> None:
    torch.manual_seed(0)
    net = Steps(Watched(neuron.LIFNode()), 3)
    drive(net)
    x = torch.rand(4, 2, 6, 6)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    pruner = SCA(net, sparsity=0.5, example_input=x, optimizer=optimizer, every=9, samples=None)
    signal = pruner._parts["signal"]
    assert isinstance(signal, GradientSignal)
    means = []
    for scale in (1.0, torch.inf, 1.0):
        functional.reset_net(net)
        optimizer.zero_grad()
        (scale * net(x).square().sum()).backward()
        if scale == 1.0:
            optimizer.step()
        pruner.step()
        means.append(signal.mean()["body.conv"])
    assert signal.steps == 2
    assert (means[0] > 0).any()
    assert torch.equal(means[1], means[0])
    assert torch.allclose(means[2], means[0])


def test_prune_only_never_regrows_at_once_and_shares_stay_below_one() -> None:
    loop = Loop(SCA, "chain", sparsity=0.5, regrow=0.0)
    assert "signal" not in loop.pruner._parts
    first = loop.run(EVERY)[0]
    assert not first.regrown
    for regrow in (0.5, 0.9, -0.1):
        with pytest.raises(mg.ConfigError, match="regrow"):
            Loop(SCA, "chain", sparsity=0.5, regrow=regrow)
    pruner = Loop(SCA, "chain", sparsity=0.5).pruner
    assert isinstance(pruner, SCA)
    assert pruner._share(0.5) == pytest.approx(0.1)
    assert pruner._share(0.9) == pytest.approx(0.05)


@pytest.mark.parametrize("score", ["membrane", "released", "rate", "magnitude", "random"])
@pytest.mark.parametrize("regrow_by", ["gradient", "random"])
def test_every_score_keeps_the_budget(score: Any, regrow_by: Any) -> None:
    loop = Loop(SCA, "chain", sparsity=0.4, score=score, regrow_by=regrow_by, linear=True)
    for change in loop.run(2 * EVERY):
        assert sum(change.kept.values()) == 36 - round(0.4 * 36)


def test_layer_scope_takes_the_same_fraction_of_each() -> None:
    pruner = Loop(SCA, "chain", sparsity=0.5, scope="layer").prune()
    assert pruner.kept() == {"body.0": 4, "body.4": 6}


def test_warm_up_interval_and_end() -> None:
    loop = Loop(SCA, "chain", sparsity=0.5, every=2, warmup=4, until=6)
    assert [c.step for c in loop.run(10)] == [4, 6]
    for bad in (
        {"every": 0},
        {"every": 2.5},
        {"every": 4, "until": 2},
        {"every": 4, "warmup": 6, "until": 7},  # the first update would come at step 8
    ):
        with pytest.raises(mg.ConfigError):
            Loop(SCA, "chain", sparsity=0.5, **bad)


def test_the_penalty_is_the_l1_norm_of_what_is_pruned() -> None:
    loop = Loop(SCA, "chain", sparsity=0.5, penalty=0.01)
    weights = [loop.model.get_submodule(n).weight for n in ("body.0", "body.4")]
    expected = 0.01 * sum(w.abs().sum() for w in weights)
    assert torch.allclose(loop.pruner.penalty(), expected)
    loop = Loop(SCA, "chain", sparsity=0.5, penalty=0.0)
    assert float(loop.pruner.penalty()) == 0.0


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_closed_channels_keep_their_weights(scope: Any) -> None:
    """With the default penalty: what could come back must not be worn down meanwhile."""
    torch.manual_seed(0)
    loop = Loop(SCA, "chain", sparsity=0.5, every=2, until=2, scope=scope)
    loop.optimizer.param_groups[0]["weight_decay"] = 0.0
    loop.run(2)
    closed = {n: ~m for n, m in loop.pruner.masks.keep().items()}
    before = {n: loop.model.get_submodule(n).weight.detach()[m].clone() for n, m in closed.items()}
    for p in loop.optimizer.state:
        loop.optimizer.state[p]["exp_avg"].zero_()  # or momentum would move them on
    loop.run(8)
    for name, mask in closed.items():
        assert mask.any()
        assert torch.equal(loop.model.get_submodule(name).weight.detach()[mask], before[name])


def test_a_target_on_synops_stays_one_of_the_dense_network() -> None:
    """Without learning nothing changes but the masks, and every update aims at the same."""
    loop = Loop(SCA, "chain", target={"synops": 0.6}, regrow=0.0, score="magnitude", every=2)
    for group in loop.optimizer.param_groups:
        group.update(lr=0.0, weight_decay=0.0)
    kept = [change.kept for change in loop.run(10)]
    assert len(kept) == 5
    assert all(k == kept[0] for k in kept)


def test_scores_of_the_warm_up_are_forgotten() -> None:
    loop = Loop(SCA, "chain", sparsity=0.5, every=3, warmup=9)
    counts = []
    for _ in range(9):
        loop.backward()
        loop.optimizer.step()
        loop.pruner.step()
        counts.append(float(loop.pruner._parts["score"].counts["body.0"].max()))
    assert counts[:3] == counts[3:6] == counts[6:]
    assert counts[1] > counts[0] > counts[2] == 0


@pytest.mark.parametrize("settings", [{"target": {"parameters": 0.5}}, {"sparsity": 0.8}])
def test_a_large_share_to_regrow_works_at_every_update(settings: dict[str, Any]) -> None:
    for scope in ("global", "layer"):
        loop = Loop(SCA, "chain", regrow=0.19, scope=scope, **settings)
        assert len(loop.run(2 * EVERY)) == 2


@pytest.mark.parametrize("bad", [{"regrow": 0.9}, {"regrow_by": "x"}, {"score": 3}, {"samples": 0}])
def test_a_refused_sca_leaves_nothing_in_the_network(bad: dict[str, Any]) -> None:
    model, x = zoo.make("chain")
    before = zoo.snapshot(model)
    with pytest.raises(mg.ConfigError):
        SCA(model, sparsity=0.5, every=1, example_input=x, **bad)
    after = zoo.snapshot(model)
    assert before.keys() == after.keys()
    assert not [k for k in before if not zoo.same(before[k], after[k])]


def test_an_unknown_score_is_refused_with_the_nearest() -> None:
    with pytest.raises(mg.ConfigError, match="Did you mean 'membrane'"):
        Loop(SCA, "chain", sparsity=0.5, score="membran")


def test_sca_does_not_calibrate() -> None:
    loop = Loop(SCA, "chain", sparsity=0.5)
    with pytest.raises(mg.ConfigError, match="nothing to calibrate"):
        loop.pruner.calibrate([loop.x])


def test_a_misspelt_setting_is_named() -> None:
    model, x = zoo.make("chain")
    with pytest.raises(mg.ConfigError, match=r"no setting 'sparsityy'.*Did you mean 'sparsity'"):
        mg.SCA(model, example_input=x, sparsityy=0.5, every=5)
