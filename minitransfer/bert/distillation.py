"""Part VI, distillation. Can half the layers know nearly as much, if the whole network shows them how it answers?

By **knowledge distillation**, as in DistilBERT (Sanh et al. 2019): a **student** with every second layer of a finished
BERT, its **teacher**, begins with these very layers and learns on from three things at once: which piece was masked,
how probable the teacher finds each piece there (**soft targets**), and the direction of the teacher's states. A soft
target says more than the right answer: which other pieces would have fitted, too.

Read next: `pretrain.distil.run`, the command.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from minitransfer.bert.encoder import MaskedLM
from minitransfer.bert.masking import IGNORE_INDEX
from minitransfer.bert.softmax import cross_entropy_sum, kl_divergence_sum


@dataclass(frozen=True)
class DistillationConfig:
    """The weights α of the loss (Sanh et al.'s program has 5, 2 and 1), and the temperature τ of soft targets."""

    soft: float = 5.0
    masked: float = 2.0
    cosine: float = 1.0
    temperature: float = 2.0


class Student(MaskedLM):
    """A BERT of every second layer of a teacher, whose `loss` is that of distillation. All else is as in `MaskedLM`.

    The teacher is no part of the student's weights, and does not learn.
    """

    def __init__(self, teacher: MaskedLM, distillation: DistillationConfig, dropout: float):
        """Begin with the teacher's embeddings, head, and layers 1, 3, … Raises: ValueError if it has a single layer."""
        L = teacher.config.num_layers
        if L < 2:
            raise ValueError("a teacher of one layer has no half")
        super().__init__(replace(teacher.config, num_layers=L // 2, dropout=dropout))
        self.distillation = distillation
        self._teacher = (teacher.eval().requires_grad_(False),)  # a tuple: so no submodule
        for block, taught_by in zip(self.bert.blocks, teacher.bert.blocks[::2]):
            block.load_state_dict(taught_by.state_dict())
        for mine, its in ((self.bert.embeddings, teacher.bert.embeddings), (self.dense, teacher.dense),
                          (self.norm, teacher.norm)):
            mine.load_state_dict(its.state_dict())
        self.bias.data.copy_(teacher.bias)

    def loss(self, token_ids: Tensor, labels: Tensor, mask: Tensor | None = None,
             generator: torch.Generator | None = None) -> Tensor:
        """α_soft τ² KL(p_τ ‖ q_τ) + α_masked (−log q(w)) + α_cosine (1 − cos(y, x)), in nats

        with p_τ = softmax(s / τ) of the teacher's logits s and q_τ = softmax(z / τ) of the student's, w the piece that
        was masked, and x and y the last states of teacher and student; the first two are means over the M masked
        tokens, the third over all. (Sanh et al. 2019, sections 2 and 3; the factor τ² keeps the size of the gradient
        whatever τ, Hinton et al. 2015.)

        Differs: their soft targets are of all tokens. Those of masked ones are what is asked for later, and the
        logits of all would take most of a step's time.
        Shapes: token_ids and labels (B, T) int64, as `MaskedLM.decode` has them, without padding (mask None) -> scalar;
        0 if nothing is masked.
        """
        [teacher] = self._teacher
        α, τ = self.distillation, self.distillation.temperature
        masked = (labels.flatten() != IGNORE_INDEX).nonzero().squeeze(1)  # (M,)
        M = max(len(masked), 1)
        y = self.bert.layers(token_ids, mask, generator)[-1].flatten(0, 1)
        with torch.no_grad():
            x = teacher.to(token_ids.device).bert.layers(token_ids, mask)[-1].flatten(0, 1)
            s = teacher.logits(x[masked])
        z, w = self.logits(y[masked]), labels.flatten()[masked]
        soft, hard = kl_divergence_sum(z, s, τ) / M, cross_entropy_sum(z, w) / M
        cosine = 1 - F.cosine_similarity(y.float(), x.float(), dim=-1).mean()
        return (α.soft * τ**2 * soft + α.masked * hard + α.cosine * cosine) * (len(masked) > 0)
