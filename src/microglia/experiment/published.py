"""What papers report, to stand beside our numbers, marked as published.

Other networks, other training, the whole data set: not to
be subtracted from anything here. Methods without an entry have no number that we could find.
"""

from __future__ import annotations

PUBLISHED: dict[str, str] = {
    "sca": "CIFAR-10: −0.88 at 9.31 % (VGG16, T=4; Li et al., 2024)",
    "slimming": "CIFAR-10: 91.16 at 14.3 % (VGG16, T=4; run of SPEAR, 2025)",
    "pca": "CIFAR-10: −1.06 at 7.0 % (VGG9, T=25; Chowdhury et al., 2021)",
    "sd-snn": "CIFAR-10: −0.64 at 62.6 % (6Conv+2FC, T=8; as SCA's Table 1 has it, 2024)",
    "dpap": "CIFAR-10: −0.27 at 66.5 % (6Conv+2FC, T=8; Han et al., 2024, second-hand)",
    "stds": "CIFAR-10: −0.35 at 4.64 % (6Conv+2FC, T=8; the authors' logs, 2022)",
    "grad-r": "CIFAR-10: −0.81 at 5.08 % (6Conv+2FC, T=8; Chen et al., 2021)",
    "deep-r": "CIFAR-10: −1.98 at 5.24 % (6Conv+2FC, T=8; Grad R's run, 2021)",
    "lottery-ticket": "CIFAR-10: 92.54 at 10.1 % (VGG16, T=5; Kim et al., 2022)",
    "lamp": "DVS128 Gesture: +0.69 at 1.82 % (Gou et al., 2025, second-hand)",
    "esl": "CIFAR-10: −1.70 at 50 % (ResNet19, T=2; as SCA's Table 1 has it, 2024)",
    "ndsnn": "Tiny-ImageNet: up to +20.52 over LTH, SET and RigL at 1 % (ResNet19; Huang, 2023)",
    "spike-thrift": "CIFAR-100: −0.03 at 10 % (VGG16; as SCA's Table 1 has it, 2024)",
    "admm": "CIFAR-10: −3.85 at 10 % (7Conv+2FC, T=8; Deng et al., 2021)",
    "sbc": "N-MNIST: −1.59 at 3 % (Shi et al., 2025, second-hand)",
    "upr": "CIFAR-10: −2.19 at 0.63 % of synapses (6Conv+2FC, T=8; Shi et al., 2024)",
}
"""Method -> data set: points of accuracy against its dense network, or accuracy, at the parameters
kept, with network and source."""

LACKING = {
    "spike-thrift": "of what the paper's dense network teaches, the maps of attention are in the "
    "loss; the distillation of its outputs is not",
}
"""Method -> what of its paper our runs leave out."""
