"""Part VI, chapter 7: freezing. Which parameters of an encoder learn from the labels of a task, and how fast?

**Discriminative learning rates** and **gradual unfreezing**: between an encoder that is left as it is and one that
learns anew from top to bottom lie the lecture's tips for fine-tuning (4.2): only the upper layers; or all layers, the
lower ones more slowly; or one more layer in each epoch. For all of these an encoder is a pile of groups of
parameters, and a mode says how many of them learn, counted from the top.

    frozen     none of them
    top        the upper N
    finetune   all, each at a rate of its own, smaller towards the text
    gradual    as finetune, but in epoch e, counted from 0, only the upper e: first the head alone
    scratch    all, at one rate unless `--layer-decay` says otherwise, from random weights: the control

Read next: `minitransfer.transfer.classifier`.
"""

from typing import Any

from torch import nn

from minitransfer.apparatus.optim import weight_decay_groups
from minitransfer.transfer.encoders import Encoder


def learning_depth(mode: str, num_groups: int, unfreeze: int, epoch: int) -> int:
    """How many of an encoder's groups learn in an epoch, counted from the top; epochs count from 0."""
    depth = {"frozen": 0, "top": unfreeze, "gradual": epoch, "finetune": num_groups, "scratch": num_groups}[mode]
    return min(depth, num_groups)


def unfreeze_top(encoder: Encoder, depth: int) -> None:
    """Let the upper `depth` groups of an encoder learn, and no others."""
    groups = encoder.groups()
    for height, group in enumerate(groups):
        for p in group:
            p.requires_grad_(height >= len(groups) - depth)


def group_rates(num_groups: int, learning_rate: float, layer_decay: float) -> list[float]:
    """The learning rate of each group, those nearest to the text first.

    η_l = η δ^(G − l),  l = 1 … G groups        (Howard and Ruder 2018, section 3.2, with δ = 1 / 2.6)

    Features near the text serve every task, and the task's own labels should bend them least.
    """
    G = num_groups
    return [learning_rate * layer_decay ** (G - l) for l in range(1, G + 1)]  # noqa: E741


def encoder_parameter_groups(encoder: Encoder, learning_rate: float, layer_decay: float,
                             weight_decay: float) -> list[dict[str, Any]]:
    """The parameters of an encoder that learn now, for `adamw`: each of its groups at its own rate."""
    groups = encoder.groups()
    listed = []
    for group, rate in zip(groups, group_rates(len(groups), learning_rate, layer_decay)):
        listed += weight_decay_groups(nn.ParameterList(group), rate, weight_decay)
    return listed
