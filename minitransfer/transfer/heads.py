"""Part VI, chapter 6: heads. How little must be learnt on top of an encoder to answer a question about a text?

The lecture's three **classification heads**. The first takes one vector for a whole text, the mean of its words'
vectors, and is two small matrices. The second takes the vector of every word, in order, with a small LSTM of its own.
The third, BERT's, is one matrix and takes the first token alone, in which the encoder itself is to gather the text; a
GPT does that in the last one.
All end in logits, one number per class, and learn by the same loss.

Read next: `minitransfer.transfer.freezing`.
"""

import torch
from torch import Tensor, nn

from minitransfer.elmo.bilm import reverse_each


class MeanPoolHead(nn.Module):
    """The lecture's head: from one vector per text to one number per class.

    logits = W2 tanh(W1 ELMo(x)) + b        (lecture 5.2; ELMo(x) = mean over tokens of ELMo(t))

    W1 has no bias: the lecture writes a single b. With `dropout`, ELMo(x) and tanh(…) each lose units in training.
    Both matrices begin at a tenth of torch's usual size, so that tanh begins as a straight line and bends only as far
    as the labels ask for: on held-out training reviews that was worth a point at 500 labels.
    """

    def __init__(self, input_size: int, head_size: int, num_classes: int = 2, dropout: float = 0.0):
        super().__init__()
        self.W1 = nn.Linear(input_size, head_size, bias=False)
        self.W2 = nn.Linear(head_size, num_classes)  # its bias is b
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            self.W1.weight.mul_(0.1)
            self.W2.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: x (B, D), pooled -> logits (B, Y)."""
        return self.W2(self.dropout(torch.tanh(self.W1(self.dropout(x)))))


class BiLSTMHead(nn.Module):
    """The lecture's other head: a bidirectional LSTM over the tokens, its mean, and a linear layer.

    a_t = LSTM(ELMo(1), …, ELMo(t)),  r_t = LSTM'(ELMo(T), …, ELMo(t)),  T the text's own last token
    logits = W mean_t([a_t; r_t]) + b        (lecture 5.2: "BiLSTM + linear")

    With `dropout`, ELMo(t) and the mean each lose some units in training. A text without tokens has logits b.
    """

    def __init__(self, input_size: int, head_size: int, num_classes: int = 2, dropout: float = 0.0):
        super().__init__()
        self.ahead = nn.LSTM(input_size, head_size, batch_first=True)
        self.back = nn.LSTM(input_size, head_size, batch_first=True)
        self.W = nn.Linear(2 * head_size, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Shapes: x (B, T, D), mask (B, T) bool, True = real token, first in each row -> logits (B, Y)."""
        return self.classify(self.pool(x, mask))

    def pool(self, x: Tensor, mask: Tensor) -> Tensor:
        """The mean of what the LSTM makes of a text's tokens. Shapes: as `forward`, but -> (B, 2 head_size) float32."""
        x, lengths = self.dropout(x), mask.sum(dim=1)
        a = self.ahead(x)[0]
        r = reverse_each(self.back(reverse_each(x, lengths))[0], lengths)
        h = torch.cat([a, r], dim=-1).float() * mask.unsqueeze(-1)  # (B, T, 2 head_size)
        return h.sum(dim=1) / lengths.clamp(min=1).unsqueeze(1)

    def classify(self, pooled: Tensor) -> Tensor:
        """Shapes: pooled (B, 2 head_size) -> logits (B, Y)."""
        return self.W(self.dropout(pooled))


class ClsHead(nn.Module):
    """BERT's head: from the state of a text's first token to one number per class.

    logits = W h_[CLS] + b        (lecture 3.4; Devlin et al. 2019, section 4.1)

    A GPT's is the same with the last token, the only one that has seen the whole text (Radford et al. 2018, eq. 3).

    Differs: BERT's program has a pooler in between, tanh(W_p h_[CLS] + b_p), which the next-sentence task trains; that
    task is left out here.

    With `dropout`, h_[CLS] loses units in training. W and b begin at zero: then the first steps bend the encoder in
    no random direction, but in one that the labels chose.
    """

    def __init__(self, input_size: int, num_classes: int = 2, dropout: float = 0.0):
        super().__init__()
        self.W = nn.Linear(input_size, num_classes)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.W.weight)
        nn.init.zeros_(self.W.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Shapes: h (B, D), the state of one token of each text -> logits (B, Y)."""
        return self.W(self.dropout(h))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """How surprised the model is by the labels, in nats, mean per text.

    L = −Σ_i y_i log softmax(logits)_i,  y = 1 for the right class and 0 for the others        (lecture 3.4)

    Shapes: logits (B, Y), labels (B,) int64 -> scalar.
    """
    log_p = logits.log_softmax(dim=-1)
    return -log_p.gather(1, labels.unsqueeze(1)).mean()
