"""Part VI, around the command: adversarial training. Does a decision hold if every word is shifted a little?

    L = L_task + L_adv,   L_adv = −log p(y | x + r),   r = ε ‖x‖ g / ‖g‖,   g = −∇_x log p(y | x)

(Miyato et al. 2017, section 3). x are the token vectors of one text, all of them as one long vector. Of all shifts of
its length r is, to first order, the one that raises the loss most. Whoever must be right there too cannot hang a
decision on a hair.

L_adv takes a pass of its own, and so does g: a step takes about three times as long.

Differs: they standardise the vectors, each word weighted by how often it stands in all texts, and ε is a length: 5,
where 400 tokens of 256 numbers have one of 320. Here it is a share of the text's own length, so that vectors of any
size may stay as they are. Under the mean head a text is standardised by its batch (`minitransfer.transfer.features`),
so there log p, and with it g, is of the whole batch and not of one text alone.

Read next: `finetune.predict.answer`.
"""

import torch
from torch import Tensor

from minitransfer.apparatus.distributed import gather_rows
from minitransfer.transfer import heads
from minitransfer.transfer.classifier import Classifier
from minitransfer.transfer.tokens import Batch


def adversarial_loss(model: Classifier, batch: Batch | Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """L_adv of a batch, mean over its texts, in nats. Shapes: labels (B,) int64 -> scalar.

    Of several processes each shifts its share of the texts, and all have the loss of the whole batch.
    """
    assert isinstance(batch, Batch)  # pooled layers are what a frozen encoder gives, which the settings refuse
    x, mask = model.token_vectors(batch), torch.from_numpy(batch.mask).to(model.device)

    def loss_at(x: Tensor) -> Tensor:
        """−log p of the right classes, with these token vectors."""
        pooled = gather_rows(model.encode_and_pool(x, mask), batch.num_texts)
        return heads.cross_entropy(model.classify_pooled(pooled), labels)

    still = x.detach().requires_grad_()
    [g] = torch.autograd.grad(loss_at(still), [still])
    return loss_at(x + shift(x.detach() * mask.unsqueeze(-1), g, epsilon))


def shift(x: Tensor, g: Tensor, epsilon: float) -> Tensor:
    """r of each text: (B, T, D) and (B, T, D) -> (B, T, D); 0 where g is 0."""

    def length(v: Tensor) -> Tensor:
        """‖v‖ of each text, (B, 1, 1)."""
        return v.flatten(1).norm(dim=1)[:, None, None]

    return epsilon * length(x) * g / length(g).clamp(min=torch.finfo(g.dtype).tiny)
