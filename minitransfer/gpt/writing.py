"""Part V, chapter 3: writing. How does a model that predicts the next piece become one that writes?

One piece is drawn from what it predicts, is taken for the next piece of the text, and so on: **autoregressive
generation**. The likeliest piece each time makes dull text that soon goes round in circles; a piece drawn from all of
them sooner or later is an absurd one. **Temperature** and **top-k** lie between:

    p(w) = exp(z_w / τ) / Σ_{v ∈ K} exp(z_v / τ)   for w ∈ K, the k pieces with the largest logits z, and else 0

(Top-k: Fan et al. 2018.) As τ nears 0 this is the likeliest piece alone. [PAD], [UNK], [CLS] and [MASK], which are no
text, are never in K.

Read next: `pretrain.gpt.train`, the command.
"""

import torch

from minitransfer.gpt.causal import CausalLM
from minitransfer.text.wordpiece import CLS_ID, MASK_ID, PAD_ID, SEP_ID, UNK_ID

LEAST_TEMPERATURE = 1e-30  # float32 divides by nothing smaller
NEVER = (PAD_ID, UNK_ID, CLS_ID, MASK_ID)  # are no text


@torch.no_grad()
def write(model: CausalLM, token_ids: list[int], most: int, temperature: float, top_k: int,
          generator: torch.Generator) -> list[int]:
    """What a GPT has to add to a text, `most` pieces at most: it ends where the model says [SEP].

    token_ids: the text so far, which begins with [CLS]; with `most` more it must fit the model's positions. The whole
    of it is encoded again for each piece: a program for long texts would keep keys and values of all blocks.
    """
    text, device = list(token_ids), model.bias.device
    for _ in range(most):
        states = model.bert.layers(torch.tensor([text], device=device))[-1]
        z = model.logits(states[0, -1]).float().cpu()  # (V,)
        z[list(NEVER)] = -torch.inf
        z, pieces = z.topk(min(top_k, len(z) - len(NEVER)))
        if temperature == 0:
            chosen = 0
        else:
            p = ((z - z[0]) / max(temperature, LEAST_TEMPERATURE)).softmax(dim=0)
            chosen = int(torch.multinomial(p, 1, generator=generator))
        if pieces[chosen] == SEP_ID:
            break
        text.append(int(pieces[chosen]))
    return text[len(token_ids) :]
