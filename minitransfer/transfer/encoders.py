"""Part VI, chapter 2: encoders. What does a finished pretraining run become when a task is built on it?

An **encoder**. Whatever was pretrained, a task sees the same few things: how many layers there are and how wide, the
vector of each distinct token, and the layers of whole texts made of such vectors. A biLM gives its character CNN and
two LSTM layers, BERT and GPT their embeddings and blocks; static vectors are an encoder of a single layer, in which a
text is just its words. The softmax over words is left behind: it was the question that taught the encoder, and the task
asks another.

Read next: `minitransfer.transfer.loading`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from minitransfer.apparatus.runtime import autocast
from minitransfer.bert.encoder import Bert, BertConfig
from minitransfer.elmo.bilm import BiLM, BiLMConfig, one_after_the_other
from minitransfer.elmo.charcnn import in_chunks, word_vectors
from minitransfer.gpt.causal import Gpt
from minitransfer.text.wordpiece import WordPiece
from minitransfer.text.words import Vocabulary, spell_all
from minitransfer.transfer.tokens import Batch, TokenisedTexts, tokenise_pieces, tokenise_words

MAX_TOKENS = 512  # of a text, where neither its user nor the encoder says otherwise


class Encoder(nn.Module):
    """What turns a text into layers of vectors: `num_layers` of them, layer 0 included, each `hidden_size` wide.

    That is D, of a biLM the states of both directions side by side (2P), and not how many units its LSTMs have (H).
    `max_tokens` is how long a text may be, None for any length, and `least_tokens` the least that this may be set to;
    `has_cls`, whether a text stands between [CLS] and [SEP]; `token_head`, the head that takes a single token in which
    the encoder gathers a text, None if it does not; `precision`, in which numbers it multiplies, "fp32" or "bf16": what
    it gives is float32 all the same. Once frozen, an encoder stays so: `train()` on the model around it would otherwise
    bring back dropout, and with it features that change from pass to pass.
    """

    num_layers: int
    hidden_size: int
    max_tokens: int | None = None
    least_tokens = 1
    has_cls = False
    token_head: str | None = None
    precision = "fp32"
    frozen = False

    def freeze(self) -> "Encoder":
        """Keep every weight as it is, for good."""
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> "Encoder":
        """As for any module, except that a frozen encoder cannot be set to training."""
        return super().train(mode and not self.frozen)

    def set_dropout(self, p: float) -> None:
        """Let the share p of units be dropped while it learns."""

    def accepts(self, max_tokens: int) -> bool:
        """Whether texts can be cut to so many tokens, neither fewer nor more than it takes."""
        return self.least_tokens <= max_tokens <= (self.max_tokens or max_tokens)

    @property
    def accepted(self) -> str:
        """The numbers that `accepts` takes, in words: "3 to 512", "1 or more"."""
        return f"{self.least_tokens} to {self.max_tokens}" if self.max_tokens else f"{self.least_tokens} or more"

    def tokenise(self, texts: Sequence[str], max_tokens: int) -> TokenisedTexts:
        """Cut texts into the tokens that this encoder takes; words, if a subclass does not say otherwise."""
        return tokenise_words(texts, max_tokens)

    def look_up(self, tokens: Sequence[str]) -> Tensor:
        """Of U distinct tokens, the inputs that never change during fine-tuning, so that they can be cached: (U, …).

        They are ids, or the outputs of the character CNN's filters.
        """
        raise NotImplementedError

    def token_vectors(self, inputs: Tensor) -> Tensor:
        """The context-independent vectors of U tokens, with gradients where these are wanted.

        Shapes: inputs (U, …), rows of `look_up` -> (U, D) float32.
        """
        raise NotImplementedError

    def token_table(self, tokens: Sequence[str]) -> Tensor:
        """The vectors of any number of distinct tokens, (U, D), without gradients."""
        with torch.no_grad():
            return self.token_vectors(self.look_up(tokens))

    def encode(self, x: Tensor, mask: Tensor, run_both: Callable = one_after_the_other,
               generator: torch.Generator | None = None) -> Tensor:
        """The layers of texts, with dropout drawn from `generator` (no dropout for None).

        Shapes: x (B, T, D) token vectors, mask (B, T) bool -> (L + 1, B, T, D), zeros where there is padding.
        """
        raise NotImplementedError

    def encode_one(self, x: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Where there is a `token_head`: what it takes, a state of the last layer. Shapes: as `encode`, but -> (B, D).
        """
        raise NotImplementedError

    def groups(self) -> list[list[nn.Parameter]]:
        """The parameters in groups that learn or stay together, those nearest to the text first."""
        raise NotImplementedError

    @property
    def tokens_learn(self) -> bool:
        """Whether the vectors of tokens are still changing, so that no table of them may be kept."""
        return any(p.requires_grad for p in self.groups()[0])


def default_max_tokens(encoder: Encoder) -> int:
    """How many tokens of a text are encoded, where nobody says: no more than the encoder was pretrained on."""
    return min(MAX_TOKENS, encoder.max_tokens or MAX_TOKENS)


class TokenVectors:
    """The vectors of the tokens in a batch, each distinct one worked out once.

    While token vectors learn, those of the batch alone are computed, with gradients. At all other times a table of the
    vectors of all tokens is computed once and used again; `renew` drops it when weights may have changed.
    """

    def __init__(self, encoder: Encoder):
        self.encoder = encoder
        self.tokens: Sequence[str] = ()
        self.inputs: Tensor | None = None  # `look_up` of all tokens, which no fine-tuning changes
        self.table: Tensor | None = None  # the vectors of all tokens, as of the last `renew`

    def __call__(self, batch: Batch) -> Tensor:
        """Shapes: token_ids (B, T) -> (B, T, D)."""
        if batch.tokens is not self.tokens:
            self.tokens, self.inputs, self.table = batch.tokens, None, None
        if self.encoder.tokens_learn and torch.is_grad_enabled():
            return self._of_its_own(batch.token_ids)
        if self.table is None:
            self.table = self.encoder.token_table(self.tokens)
        return self.table[torch.from_numpy(batch.token_ids).to(self.table.device)]

    def _of_its_own(self, token_ids: np.ndarray) -> Tensor:
        """The vectors of the tokens in `token_ids`, with gradients."""
        if self.inputs is None:
            self.inputs = self.encoder.look_up(self.tokens)
        distinct, place = np.unique(token_ids, return_inverse=True)
        x = self.encoder.token_vectors(self.inputs[torch.from_numpy(distinct).to(self.inputs.device)])
        # index_select, since threads add up the gradient of x[place] in any order, and round differently each.
        return x.index_select(0, torch.from_numpy(place.ravel()).to(x.device)).view(*token_ids.shape, -1)

    def renew(self) -> None:
        """To be called when weights may have changed: forgets what was worked out with the earlier ones."""
        if self.encoder.tokens_learn:
            self.table = None


class StaticEncoder(Encoder):
    """One vector per word whatever its neighbours: the lecture's starting point, and the baseline (lecture 2.1)."""

    num_layers = 1

    def __init__(self, vocabulary: Vocabulary, hidden_size: int):
        super().__init__()
        self.ids, self.hidden_size = vocabulary.ids, hidden_size
        # Smaller than skip-gram's standardised vectors (variance 1), so that what training adds soon outweighs this.
        self.vectors = nn.Parameter(torch.empty(len(vocabulary), hidden_size).normal_(std=0.1))

    def look_up(self, tokens: Sequence[str]) -> Tensor:
        """The ids of U words, (U,) int64; −1 for a word that is not in the vocabulary."""
        return torch.tensor([self.ids.get(word, -1) for word in tokens], dtype=torch.int64, device=self.vectors.device)

    def token_vectors(self, inputs: Tensor) -> Tensor:
        """Shapes: inputs (U,) int64 ids -> (U, D), zeros for −1."""
        return self.vectors[inputs.clamp(min=0)] * (inputs >= 0).unsqueeze(1)

    def groups(self) -> list[list[nn.Parameter]]:
        """One group: the vectors."""
        return [[self.vectors]]

    def encode(self, x: Tensor, mask: Tensor, run_both: Callable = one_after_the_other,
               generator: torch.Generator | None = None) -> Tensor:
        """One layer, the vectors themselves. Shapes: as `Encoder.encode`."""
        return (x * mask.unsqueeze(-1)).unsqueeze(0)


class BiLMEncoder(Encoder):
    """The layers of a biLM: the character CNN, then each LSTM layer, both directions side by side (lecture 2.4).

    Differs: the filters of the character CNN never learn from a task, nor when training from scratch; its projection
    does. They are random in any run that was warm-started, and thousands of random filters are enough to tell words
    apart (`elmo.spelling`). In exchange, what a filter says of a word is worked out once and not in every step.
    """

    def __init__(self, config: BiLMConfig):
        super().__init__()
        self.bilm = BiLM(replace(config, vocab_size=1))  # the smallest softmax there is, for it goes at once
        del self.bilm.softmax
        charcnn = self.bilm.charcnn
        for part in (charcnn.chars, charcnn.convolutions):
            part.requires_grad_(False)
        self.num_layers, self.hidden_size = config.num_layers + 1, 2 * config.projection_size

    def set_dropout(self, p: float) -> None:
        """Let the share p of units be dropped between the layers while it learns."""
        for stack in self.bilm.stacks():
            stack.dropout = p

    def look_up(self, tokens: Sequence[str]) -> Tensor:
        """How strongly each filter responds to each of U words, (U, number of filters) float16.

        In half precision, since the words of 25,000 reviews fill more than a gigabyte as it is; that moves a vector by
        less than a thousandth of its length.
        """
        charcnn, spelling = self.bilm.charcnn, torch.from_numpy(spell_all(tokens))
        return in_chunks(charcnn, spelling, lambda char_ids: charcnn.respond(char_ids).half())

    def token_vectors(self, inputs: Tensor) -> Tensor:
        """Shapes: inputs (U, number of filters) -> (U, D)."""
        charcnn = self.bilm.charcnn
        with autocast(inputs.device, self.precision):
            return charcnn.project(charcnn.carry(inputs.float())).float()

    def token_table(self, tokens: Sequence[str]) -> Tensor:
        """The vectors of U words, (U, D), in full precision and without keeping what each filter says of each word."""
        return word_vectors(self.bilm.charcnn, torch.from_numpy(spell_all(tokens)))

    def groups(self) -> list[list[nn.Parameter]]:
        """What learns of the character CNN, then each LSTM layer with its projection, both directions together."""
        layers = zip(*(zip(stack.lstms, stack.projections) for stack in self.bilm.stacks()))
        above = [[p for pair in both for module in pair for p in module.parameters()] for both in layers]
        charcnn = self.bilm.charcnn
        return [[*charcnn.highways.parameters(), *charcnn.project.parameters()], *above]

    def encode(self, x: Tensor, mask: Tensor, run_both: Callable = one_after_the_other,
               generator: torch.Generator | None = None) -> Tensor:
        """What the character CNN gives, then each LSTM layer. Shapes: as `Encoder.encode`."""
        with autocast(x.device, self.precision):
            return self.bilm(x, mask, run_both, generator)


class BertEncoder(Encoder):
    """The layers of BERT: the embeddings, then each block (lecture 3.4)."""

    least_tokens = 3  # [CLS], a piece, [SEP]
    has_cls = True
    token_head: str | None = "cls"
    network = Bert

    def __init__(self, config: BertConfig, wordpiece: WordPiece, seq_length: int | None = None):
        """`seq_length`: how long the rows were that it was pretrained on; later positions have learnt nothing."""
        super().__init__()
        self.bert, self.wordpiece = self.network(config), wordpiece
        self.ids = {piece: i for i, piece in enumerate(wordpiece.pieces)}
        self.num_layers, self.hidden_size = config.num_layers + 1, config.hidden_size
        self.max_tokens = seq_length or config.max_positions

    def set_dropout(self, p: float) -> None:
        """Let the share p of units be dropped, in the embeddings and twice in each block, while it learns."""
        for part in (self.bert, *self.bert.blocks):
            part.dropout = p

    def tokenise(self, texts: Sequence[str], max_tokens: int) -> TokenisedTexts:
        """Cut texts into word pieces between [CLS] and [SEP]."""
        return tokenise_pieces(texts, max_tokens, self.wordpiece)

    def look_up(self, tokens: Sequence[str]) -> Tensor:
        """The ids of U pieces, (U,) int64."""
        device = self.bert.embeddings.tokens.weight.device
        return torch.tensor([self.ids[piece] for piece in tokens], dtype=torch.int64, device=device)

    def token_vectors(self, inputs: Tensor) -> Tensor:
        """The embeddings of pieces, not yet in any position. Shapes: inputs (U,) int64 ids -> (U, D)."""
        return self.bert.embeddings.tokens.weight[inputs]

    def head_token_position(self, mask: Tensor) -> Tensor:
        """Where in each text the token stands that `token_head` takes: mask (B, T) -> (B,) int64; here the first."""
        return torch.zeros(len(mask), dtype=torch.int64, device=mask.device)

    def encode_one(self, x: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The last layer's state of one token, all that its head asks for, without finishing the others'.

        Shapes: as `encode`, but -> (B, D).
        """
        B, T = mask.shape
        wanted = torch.arange(B, device=x.device) * T + self.head_token_position(mask)
        with autocast(x.device, self.precision):
            return self.bert.layers_above(x, mask, generator, wanted)[-1]

    def groups(self) -> list[list[nn.Parameter]]:
        """The embeddings, then each block."""
        return [list(part.parameters()) for part in (self.bert.embeddings, *self.bert.blocks)]

    def encode(self, x: Tensor, mask: Tensor, run_both: Callable = one_after_the_other,
               generator: torch.Generator | None = None) -> Tensor:
        """What the embeddings give, then each block. Shapes: as `Encoder.encode`."""
        with autocast(x.device, self.precision):
            return torch.stack(self.bert.layers_above(x, mask, generator)) * mask.unsqueeze(-1)


class GptEncoder(BertEncoder):
    """The layers of a GPT: BERT's, under a causal mask. Its last token, [SEP], has seen the text; its first nothing."""

    token_head = "last"
    network = Gpt

    def head_token_position(self, mask: Tensor) -> Tensor:
        """The place of each text's own last token: mask (B, T) -> (B,) int64."""
        return mask.sum(dim=1).clamp(min=1) - 1
