"""Features that a convolution learns from digits without labels, read out by a linear classifier.

    python benchmarks/stdp_digits.py --json results/benchmarks/stdp_digits.json

The untrained layer against homogeneous and heterogeneous STDP, five seeds. The input is how much
brighter or darker a pixel is than its surround, as spikes that come the earlier the more it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from record import about, write
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional as F

from microglia.data import Images, load_splits
from microglia.data.encode import latency
from microglia.experiment.statistics import mean_and_spread, paired_difference
from microglia.training import STDPConfig, stdp_features, train_stdp

T = 8
SPREADS = {"homogeneous": 0.0, "heterogeneous": 0.5}


def contrasts(images: Images) -> Tensor:
    """Spikes [T, N, 2, H, W] of what is brighter, and darker, than the mean of 3 x 3 pixels."""
    x = images.images.float() / 255
    surround = F.avg_pool2d(F.pad(x, (1,) * 4, mode="replicate"), 3, stride=1)
    both = torch.cat([(x - surround).clamp(min=0), (surround - x).clamp(min=0)], dim=1)
    both = both / both.amax((1, 2, 3), keepdim=True)
    return latency(both, T) * (both > 0.05)


def accuracies(seed: int) -> dict[str, float]:
    """On the test images, of the untrained layer and of each rule's."""
    data = load_splits("digits")
    train, test = contrasts(data.train), contrasts(data.test)
    torch.manual_seed(seed)
    layer = nn.Conv2d(2, 12, 4, bias=False)
    start = nn.init.uniform_(layer.weight).detach().clone()
    batches = [train[:, rows] for rows in torch.randperm(train.shape[1]).split(50)]

    def read_out() -> float:
        a, b = _features(layer, train), _features(layer, test)
        mean, deviation = a.mean(0), a.std(0) + 1e-6
        classifier = LogisticRegression(max_iter=500)
        classifier.fit((a - mean) / deviation, data.train.labels.numpy())
        return float(classifier.score((b - mean) / deviation, data.test.labels.numpy()))

    found = {"untrained": read_out()}
    for name, spread in SPREADS.items():
        layer.weight.data.copy_(start)
        train_stdp(layer, batches, config=STDPConfig(seed=seed, spread=spread))
        found[name] = read_out()
    return found


def _features(layer: nn.Conv2d, spikes: Tensor) -> np.ndarray:
    maps = stdp_features(layer, spikes, threshold=torch.tensor(1.0))
    found: np.ndarray = F.adaptive_avg_pool2d(maps, 2).flatten(1).numpy()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    by_seed = {seed: accuracies(seed) for seed in range(arguments.seeds)}
    untrained = {seed: a["untrained"] for seed, a in by_seed.items()}
    print("| | test accuracy, % | points over the untrained, paired 95 % interval |\n|---|---|---|")
    for name in ("untrained", *SPREADS):
        mine = {seed: a[name] for seed, a in by_seed.items()}
        difference = paired_difference(mine, untrained)
        more = "–" if name == "untrained" or difference is None else difference.text(scale=100)
        print(f"| {name} | {mean_and_spread(list(mine.values()), scale=100)} | {more} |")
    write(arguments.json, "stdp_digits", about(), accuracies=by_seed)


if __name__ == "__main__":
    main()
