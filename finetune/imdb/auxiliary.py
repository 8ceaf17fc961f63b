"""Part VI, around the command: the auxiliary loss. Can an encoder learn a task while it is still asked about language?

    L = L_task + λ L_lm        (Radford et al. 2018, eq. 5; λ is --lm-weight)

L_lm is the question of pretraining, asked of the batch's own texts: of a GPT the next piece, of BERT those that are
masked, of a biLM the next word and the previous one. It may help the task, and it holds the encoder to what it knew
(`finetune.imdb.forgetting`). The head that pretraining trained asks, and does not learn: so the same weights learn as
without this loss, and the same head can measure afterwards what was forgotten.

L_lm takes a forward pass of its own, about as long again. BERT needs one, since the task has the text whole and the
question has it masked; for the others it is the simple way.

Differs: Radford et al. ask about every token, and their softmax learns. Here 15 % of the tokens are drawn, as many as
Devlin et al. mask, also of a BERT that was pretrained with another share. The mean over them has the same expectation,
and a softmax over all words is most of the cost.

Read next: `finetune.imdb.adversarial`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from minitransfer.apparatus.errors import UsageError
from minitransfer.apparatus.runtime import autocast
from minitransfer.apparatus.saved import LoadedRun
from minitransfer.bert.encoder import MaskedLM
from minitransfer.bert.masking import IGNORE_INDEX, PROBABILITY, fixed, mask_tokens
from minitransfer.elmo.softmax import WordSoftmax
from minitransfer.gpt.causal import CausalLM
from minitransfer.text.words import UNK_ID, Vocabulary
from minitransfer.transfer.classifier import Classifier, default_generator
from minitransfer.transfer.encoders import BertEncoder, BiLMEncoder, Encoder
from minitransfer.transfer.loading import softmax_of, with_head
from minitransfer.transfer.tokens import Batch

LMLoss = Callable[[Classifier, Any], Tensor]  # L_lm of a batch of tokens, of the encoder as it is now


def lm_loss_of(run: LoadedRun, encoder: Encoder) -> LMLoss:
    """L_lm of an encoder that came from this run, by the run's own head.

    Masks, drawn tokens and dropout are all from torch's own generator, which the loop seeds before each step. Of
    several processes each asks about its share of the batch, and the gradient is the mean of theirs.
    Raises: UsageError for static vectors; CheckpointError if the run has no head that fits.
    """
    if isinstance(encoder, BiLMEncoder):
        return partial(word_loss, softmax_of(run, encoder), run.parsed("vocab.txt", Vocabulary.from_text).ids)
    if isinstance(encoder, BertEncoder):
        return partial(piece_loss, with_head(run, encoder))
    raise UsageError(f"--lm-weight: {run.path} holds static vectors, which never predicted a text",
                     "leave it out, or give the --encoder of a pretrain.bilm, bert or gpt run")


def piece_loss(network: MaskedLM, model: Classifier, batch: Batch) -> Tensor:
    """L_lm of BERT or GPT: −log p of the pieces that are asked for, mean over these, in nats; 0 if there is none.

    BERT is asked for those that are masked; a GPT for a share of all, each from what stands before it. The [SEP] at the
    end is never asked for, as in pretraining.
    Shapes: token_ids (B, T) int64 of the batch, mask (B, T) bool -> scalar.
    """
    device = model.device
    token_ids, mask = (torch.from_numpy(array).to(device) for array in (batch.token_ids, batch.mask))
    if isinstance(network, CausalLM):
        inputs, following = token_ids[:, :-1], token_ids[:, 1:]
        labels = torch.where(drawn(~fixed(following)), following, IGNORE_INDEX)
    else:
        inputs, labels = mask_tokens(token_ids, torch.default_generator, vocab_size=network.config.vocab_size)
    noise = default_generator(device) if model.encoder.training else None
    with autocast(device, model.encoder.precision):
        return network.loss(inputs, labels, mask[:, : inputs.shape[1]], noise)


def word_loss(softmax: WordSoftmax, ids: Mapping[str, int], model: Classifier, batch: Batch) -> Tensor:
    """L_lm of a biLM: half of −log p of a share of the next words, half of the previous ones, each a mean, in nats.

    Each over the full vocabulary of its run, where other words are <unk>. A text begins and ends with a blank memory,
    as in every task, so the forward model is not asked for the first word, nor the backward model for the last.
    Shapes: token_ids (B, T) int64 of the batch, mask (B, T) bool -> scalar.
    """
    x = model.token_vectors(batch)
    mask = torch.from_numpy(batch.mask).to(x.device)
    h = model.encode(x, mask)[-1]  # (B, T, 2P)
    words = [ids.get(batch.tokens[i], UNK_ID) for i in batch.token_ids.ravel()]
    y = torch.tensor(words, device=x.device).view(mask.shape)
    ahead, back = h.chunk(2, dim=-1)  # the states of the forward and of the backward model at each token

    def mean_loss(states: Tensor, targets: Tensor) -> Tensor:
        """That of one direction. Shapes: states (B, T − 1, P), targets (B, T − 1) int64 -> scalar, in nats."""
        asked = drawn(mask[:, 1:])  # where the second of two neighbours is real, so is the first
        return softmax.full_loss(states[asked], targets[asked]) / max(int(asked.sum()), 1)

    return (mean_loss(ahead[:, :-1], y[:, 1:]) + mean_loss(back[:, 1:], y[:, :-1])) / 2


def drawn(mask: Tensor) -> Tensor:
    """A share of the True ones, at random. Shapes: bool (…) -> the same."""
    return mask & (torch.rand(mask.shape, generator=torch.default_generator) < PROBABILITY).to(mask.device)
