"""Part III, chapter 5: the scalar mix. Which layer should a task use?

All of them: in a **scalar mix** the task learns how much it takes of each. Layer 0, the character CNN, is
context-free: it holds what a word is in itself. Of the two LSTM layers of their large biLM, Peters et al. (2018,
section 5.3) found the lower better for syntax (parts of speech) and the upper for the sense of a word. In this book's
small ones neither is always ahead, and LSTM layers that were never trained separate senses better than trained ones:
docs/layers.md and notebook 00. The learned weights show what a task made of its layers.

Read next: `minitransfer.elmo.evaluation`.
"""

import torch
from torch import Tensor, nn


class ScalarMix(nn.Module):
    """Mix the layers of an encoder into one vector, by weights that the task learns.

    num_layers: L + 1, layer 0 included.
    """

    def __init__(self, num_layers: int):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(num_layers))  # equal weights to begin with
        self.gamma = nn.Parameter(torch.ones(()))

    def weights(self) -> Tensor:
        """The layers' weights s = softmax(w), which sum to one: (L + 1,)."""
        return self.w.softmax(dim=0)

    def forward(self, h: Tensor) -> Tensor:
        """Mix layers, of tokens or of texts pooled already: the mean over tokens of a mix is the mix of the means.

        ELMo(t) = γ Σ_k s_k h_{t,k},  s = softmax(w)        (lecture 2.4; Peters et al. 2018, eq. 1)

        Index warning: as in the lecture, k is the layer and t the token; the paper's eq. 1 has j and k.

        Shapes: h (L + 1, …, D), k = 0 the character CNN  ->  (…, D).

        Raises: ValueError if there are not as many layers as weights; a lone layer would be broadcast in silence.
        """
        if len(h) != len(self.w):
            raise ValueError(f"expected {len(self.w)} layers, got {len(h)}")
        s = self.weights()
        return self.gamma * torch.tensordot(s, h, dims=1)
