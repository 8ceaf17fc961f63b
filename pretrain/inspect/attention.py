"""Part IV, around inspecting: attention. Which other tokens does a token of a text draw on?

**Attention weights**: each head of each block gives every token a weight for every other, and all weights that a token
gives sum to one. A BERT begins with heads that prefer what stands near, since its position vectors are made so; what
pretraining and fine-tuning made of them is seen beside a network of the same shape with new weights. A weight says
where a head takes from, and not how much the answer depends on it.

Read next: `pretrain.inspect.curves`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from minitransfer.apparatus.checkpoint import LoadedRun
from minitransfer.apparatus.errors import CheckpointError, UsageError
from minitransfer.bert.encoder import Bert, Block
from minitransfer.text.wordpiece import CLS_ID, SEP_ID
from minitransfer.transfer.classifier import load_classifier
from minitransfer.transfer.encoders import BertEncoder
from minitransfer.transfer.loading import load_encoder
from pretrain.inspect.showing import check_layer

MOST_PIECES = 40  # of a text, [CLS] and [SEP] among them: more cannot be told apart in a picture
ANOTHER_WITH_ATTENTION = "give a run of pretrain.bert or gpt, or one of finetune.imdb on such a run"
PLACES = ("itself", "1 before", "1 after", "[CLS]", "[SEP]")


@dataclass(frozen=True)
class Attention:
    """What the heads of one block do with a text of T tokens: weights (H, T, T), of which row t are token t's."""

    name: str
    tokens: list[str]
    weights: Tensor

    def shares(self) -> list[list[float]]:
        """For each head the mean weight on each of `PLACES`."""
        columns = [self.weights.diagonal(k, 1, 2).mean(1) for k in (0, -1, 1)]
        return torch.stack([*columns, *self.weights.mean(1)[:, [0, -1]].T], dim=1).tolist()


def load_bert(run: LoadedRun, device: torch.device) -> BertEncoder:
    """The BERT or GPT of a run of pretrain.bert, gpt or finetune.imdb. Raises: CheckpointError if it has none."""
    encoder = load_classifier(run, device).encoder if run.kind == "transfer" else load_encoder(run, device)
    if not isinstance(encoder, BertEncoder):
        what = f"{run.path} holds no BERT and no GPT, and of all encoders only these have attention"
        raise CheckpointError(what, ANOTHER_WITH_ATTENTION)
    return encoder


def pieces_of_text(text: str, encoder: BertEncoder) -> Tensor:
    """The ids of a text from [CLS] to [SEP], int64 (T,). Raises: UsageError for no text, or too long a one."""
    ids = encoder.wordpiece.encode([text])[0].tolist()
    most = min(MOST_PIECES, encoder.max_tokens) - 2
    if not 1 <= len(ids) <= most:
        what = f"--attention: the text is {len(ids):,} pieces, and 1 to {most} can be drawn"
        raise UsageError(what, "give a shorter text" if ids else "give a text of a few words")
    return torch.tensor([CLS_ID, *ids, SEP_ID], device=next(encoder.bert.parameters()).device)


@torch.no_grad()
def attention_weights(bert: Bert, token_ids: Tensor, layer: int) -> Tensor:
    """The weights of all heads of a block, for one text.

    A_i = softmax(q_i k_iᵀ / √d),   q_i = x W_q,i,   k_i = x W_k,i            (Vaswani et al. 2017, eq. 1)

    with x the states that enter the block, and a GPT's causal mask added to its scores; `Block` multiplies these
    weights with the values v_i.
    Shapes: token_ids int64 (T,), layer 1 to L -> (H, T, T) on the CPU.
    """
    block, states = bert.blocks[layer - 1], bert.layers(token_ids.unsqueeze(0))[layer - 1]  # (1, T, D)
    assert isinstance(block, Block)  # a ModuleList does not say of what
    x = states[0]
    q, k, _ = block.qkv(x).view(len(x), 3, block.num_heads, -1).permute(1, 2, 0, 3)  # (H, T, d) each
    scores, bias = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), bert.attention_bias(states, None)
    return (scores if bias is None else scores + bias).softmax(dim=-1).cpu()


def new_weights(bert: Bert) -> Bert:
    """A BERT, or a GPT, of the same shape that has learnt nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return type(bert)(bert.config).to(next(bert.parameters()).device).eval()


def attentions(run: LoadedRun, text: str, layer: int | None, device: torch.device) -> list[Attention]:
    """A text in one block (None: the uppermost) of a network of new weights, and of a run's own."""
    encoder = load_bert(run, device)
    k = check_layer(layer, range(1, len(encoder.bert.blocks) + 1), "blocks")
    token_ids = pieces_of_text(text, encoder)
    tokens = [encoder.wordpiece.pieces[i] for i in token_ids.tolist()]
    networks = {f"block {k}, new weights": new_weights(encoder.bert), f"block {k} of {run.path}": encoder.bert}
    return [Attention(name, tokens, attention_weights(bert, token_ids, k)) for name, bert in networks.items()]
