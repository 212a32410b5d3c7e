"""The examples below each command's help."""

PRUNE = """
[bold]Examples[/bold]

  microglia prune examples/digits.toml

  microglia prune examples/digits.toml --sparsity 0.5 --seeds 0,1,2 --out runs/half

  microglia prune examples/digits.toml --network.width 0.5 --pruning.options.regrow 0.05

  microglia prune examples/digits.toml --epochs 4 --show-config

Any key of the config is a flag, --section.key value; the common ones have short names too.
--show-config lists them all.
"""

TRAIN = """
[bold]Examples[/bold]

  microglia train examples/digits.toml

  microglia train examples/digits.toml --training.loss tet --network.norm tebn --seeds 0,1,2
"""

REPRODUCE = """
[bold]Examples[/bold]

  microglia reproduce sca --tier s

  microglia reproduce sca --tier s --only "cifar10-conv5/*-seed0"

  microglia reproduce sca --tier m --list

  microglia reproduce recipes --tier s

  microglia reproduce rivals --tier s --only "*-seed0"
"""

COMPARE = """
[bold]Examples[/bold]

  microglia compare examples/compare.toml

  microglia compare examples/compare.toml --processes 2 --seeds 0,1,2

  microglia compare examples/compare.toml --table

  microglia compare examples/compare.toml --tune 12 --compare.methods stds
"""

SENSITIVITY = """
[bold]Examples[/bold]

  microglia sensitivity examples/digits.toml

  microglia sensitivity runs/demo --score rate
"""

INSPECT = """
[bold]Examples[/bold]

  microglia inspect vgg16

  microglia inspect preresnet18 --width 0.25 --classes 100

  microglia inspect runs/demo

  microglia inspect runs/lnp-demo --lyapunov
"""

MEASURE = """
[bold]Examples[/bold]

  microglia measure runs/demo

  microglia measure runs/demo/compact --data digits

  microglia measure runs/demo --json > figures.json
"""
