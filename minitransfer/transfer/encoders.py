"""Part V, chapter 2: encoders. What does a finished pretraining run become when a task reads with it?

Whatever was pretrained, a task sees the same few things: how many layers there are and how wide, the vector of each
distinct token, and the layers of whole texts made of such vectors. A biLM gives its character CNN and two LSTM
layers, BERT its embeddings and its blocks; static vectors are an encoder of a single layer, in which a text is just
its words. The softmax over words is left behind: it was the question that taught the encoder, and the task asks
another.

Read next: `minitransfer.transfer.loading`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from minitransfer.bert.encoder import Bert, BertConfig
from minitransfer.elmo.bilm import BiLM, BiLMConfig, one_after_the_other
from minitransfer.elmo.charcnn import word_vectors
from minitransfer.text.wordpiece import WordPiece
from minitransfer.text.words import Vocabulary, spell_all
from minitransfer.transfer.tokens import TokenisedTexts, tokenise_pieces, tokenise_words


class Encoder(nn.Module):
    """What turns a text into layers of vectors: `num_layers` of them, layer 0 included, each `hidden_size` wide.

    `max_tokens` is how long a text may be, None for any length; `has_cls`, whether a text opens with [CLS]. Once
    frozen, an encoder stays so: `train()` on the model around it would otherwise bring back dropout, and with it
    features that change from pass to pass.
    """

    num_layers: int
    hidden_size: int
    max_tokens: int | None = None
    has_cls = False
    frozen = False

    def freeze(self) -> "Encoder":
        """Keep every weight as it is, for good."""
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> "Encoder":
        """As for any module, except that a frozen encoder cannot be set to training."""
        return super().train(mode and not self.frozen)

    def tokenise(self, texts: Sequence[str], max_tokens: int) -> TokenisedTexts:
        """Cut texts into the tokens that this encoder reads; words, if a subclass does not say otherwise."""
        return tokenise_words(texts, max_tokens)

    def token_table(self, tokens: Sequence[str]) -> Tensor:
        """The vectors of U distinct tokens before their neighbours are known, (U, D)."""
        raise NotImplementedError

    def encode(self, x: Tensor, mask: Tensor, run_both: Callable = one_after_the_other) -> Tensor:
        """The layers of texts. Shapes: x (B, T, D) rows of the token table, mask (B, T) bool -> (L + 1, B, T, D),
        zeros where there is padding."""
        raise NotImplementedError

    def groups(self) -> list[list[nn.Parameter]]:
        """The parameters in groups that learn or stay together, those nearest to the text first."""
        raise NotImplementedError

    @property
    def tokens_learn(self) -> bool:
        """Whether the vectors of tokens are still changing, so that no table of them may be kept."""
        return any(p.requires_grad for p in self.groups()[0])


class StaticEncoder(Encoder):
    """One vector per word whatever its neighbours: the lecture's starting point, and the baseline (lecture 2.1)."""

    num_layers = 1

    def __init__(self, vocabulary: Vocabulary, hidden_size: int):
        super().__init__()
        self.ids, self.hidden_size = vocabulary.ids, hidden_size
        # Smaller than skip-gram's standardised vectors (variance 1), so that training from scratch soon outweighs it.
        self.vectors = nn.Parameter(torch.empty(len(vocabulary), hidden_size).normal_(std=0.1))

    def token_table(self, tokens: Sequence[str]) -> Tensor:
        """The vectors of U words, (U, D); a word that is not in the vocabulary has zeros."""
        ids = torch.tensor([self.ids.get(word, -1) for word in tokens], dtype=torch.int64, device=self.vectors.device)
        return self.vectors[ids.clamp(min=0)] * (ids >= 0).unsqueeze(1)

    def groups(self) -> list[list[nn.Parameter]]:
        """One group: the vectors."""
        return [[self.vectors]]

    def encode(self, x: Tensor, mask: Tensor, run_both: Callable = one_after_the_other) -> Tensor:
        """Shapes: x (B, T, D), mask (B, T) bool -> (1, B, T, D), zeros where there is padding."""
        return (x * mask.unsqueeze(-1)).unsqueeze(0)


class BiLMEncoder(Encoder):
    """The layers of a biLM: the character CNN, then each LSTM layer, both directions side by side (lecture 2.4)."""

    def __init__(self, config: BiLMConfig):
        super().__init__()
        self.bilm = BiLM(replace(config, vocab_size=1))  # the smallest softmax there is, for it goes at once
        del self.bilm.softmax
        self.num_layers, self.hidden_size = config.num_layers + 1, 2 * config.projection_size

    def token_table(self, tokens: Sequence[str]) -> Tensor:
        """The vectors of U words, worked out from their spelling, (U, D); with gradients where these are wanted."""
        spelling = torch.from_numpy(spell_all(tokens))
        if self.tokens_learn and torch.is_grad_enabled():
            return self.bilm.charcnn(spelling.to(self.bilm.charcnn.project.weight.device))
        return word_vectors(self.bilm.charcnn, spelling)

    def groups(self) -> list[list[nn.Parameter]]:
        """The character CNN, then each LSTM layer with its projection, of both directions together."""
        layers = zip(*(zip(stack.lstms, stack.projections) for stack in self.bilm.stacks()))
        above = [[p for pair in both for module in pair for p in module.parameters()] for both in layers]
        return [list(self.bilm.charcnn.parameters()), *above]

    def encode(self, x: Tensor, mask: Tensor, run_both: Callable = one_after_the_other) -> Tensor:
        """Shapes: x (B, T, D), mask (B, T) bool -> (L + 1, B, T, D), zeros where there is padding."""
        return self.bilm.encode(x, mask, run_both)


class BertEncoder(Encoder):
    """The layers of BERT: the embeddings, then each block (lecture 3.4)."""

    has_cls = True

    def __init__(self, config: BertConfig, wordpiece: WordPiece, seq_length: int | None = None):
        """`seq_length`: how long the rows were that it was pretrained on; later positions have learnt nothing."""
        super().__init__()
        self.bert, self.wordpiece = Bert(config), wordpiece
        self.ids = {piece: i for i, piece in enumerate(wordpiece.pieces)}
        self.num_layers, self.hidden_size = config.num_layers + 1, config.hidden_size
        self.max_tokens = seq_length or config.max_positions

    def tokenise(self, texts: Sequence[str], max_tokens: int) -> TokenisedTexts:
        """Cut texts into word pieces between [CLS] and [SEP]."""
        return tokenise_pieces(texts, max_tokens, self.wordpiece)

    def token_table(self, tokens: Sequence[str]) -> Tensor:
        """The embeddings of U pieces, not yet in any position, (U, D)."""
        weight = self.bert.embeddings.tokens.weight
        return weight[torch.tensor([self.ids[piece] for piece in tokens], dtype=torch.int64, device=weight.device)]

    def groups(self) -> list[list[nn.Parameter]]:
        """The embeddings, then each block."""
        return [list(part.parameters()) for part in (self.bert.embeddings, *self.bert.blocks)]

    def encode(self, x: Tensor, mask: Tensor, run_both: Callable = one_after_the_other) -> Tensor:
        """Shapes: x (B, T, D), mask (B, T) bool -> (L + 1, B, T, D), zeros where there is padding."""
        return torch.stack(self.bert.layers_above(x, mask)) * mask.unsqueeze(-1)
