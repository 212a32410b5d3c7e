"""What the papers report on CIFAR-10, to stand beside our numbers, marked as published.

Other networks, other training, the whole data set: not to be subtracted from anything here.
"""

from __future__ import annotations

PUBLISHED: dict[str, str] = {
    "sca": "−0.88 at 9.31 % (VGG16, T=4)",
    "slimming": "91.16 at 14.3 % (VGG16, T=4; SPEAR's run)",
    "pca": "−1.06 at 7.0 % (VGG9, T=25)",
    "sd-snn": "−0.64 at 62.6 % (6Conv+2FC, T=8)",
    "dpap": "−0.27 at 66.5 % (6Conv+2FC, T=8)",
    "stds": "−0.35 at 4.64 % (6Conv+2FC, T=8)",
    "grad-r": "−0.81 at 5.08 % (6Conv+2FC, T=8)",
    "deep-r": "−1.98 at 5.24 % (6Conv+2FC, T=8; Grad R's run)",
    "lottery-ticket": "92.54 at 10.1 % (VGG16, T=5)",
    "esl": "−1.70 at 50 % (ResNet19, T=2)",
    "admm": "−3.85 at 10 % (7Conv+2FC, T=8)",
    "upr": "−2.19 at 0.63 % of synapses (6Conv+2FC, T=8)",
}
"""Method -> points of accuracy against its dense network, or accuracy, at the parameters kept."""
