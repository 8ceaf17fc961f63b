"""The homework answered by the book's own functions, in the signatures of docs/course/homework/stubs.py."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from minitransfer.bert import encoder, masking
from minitransfer.bert.distillation import DistillationConfig, Student
from minitransfer.elmo.bilm import BiLM, BiLMConfig, LSTMStack
from minitransfer.elmo.charcnn import CharCNN, CharCNNConfig
from minitransfer.elmo.mix import ScalarMix
from minitransfer.elmo.softmax import WordSoftmax
from minitransfer.gpt.causal import Gpt, next_pieces
from minitransfer.static import glove
from minitransfer.static.skipgram import SkipGram, SkipGramConfig
from minitransfer.text.wordpiece import PAD_ID
from minitransfer.transfer import prompts
from minitransfer.transfer.features import pool_tokens
from minitransfer.transfer.freezing import group_rates


def with_weights(module: nn.Module, **weights: Tensor) -> nn.Module:
    """A module, in double precision, with these parameters."""
    state = {name: weights.get(name, value) for name, value in module.double().state_dict().items()}
    module.load_state_dict(state)
    return module


def skipgram_gradient(c: Tensor, o: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a step takes off each row when the learning rate undoes AdaGrad's division."""
    N, D = negatives.shape
    skipgram = SkipGram(np.ones(N + 2), SkipGramConfig(D, negatives=N, shared_negatives=N), torch.Generator())
    skipgram.vectors = torch.cat([c.unsqueeze(0), torch.zeros(N + 1, D)]).float()
    skipgram.contexts = torch.cat([torch.zeros(1, D), o.unsqueeze(0), negatives]).float()
    skipgram.squares = {table: torch.full((N + 2,), 1e12) for table in ("vectors", "contexts")}
    vectors, contexts = skipgram.vectors.clone(), skipgram.contexts.clone()
    skipgram.step(torch.tensor([[0, 1]]), torch.tensor([[1, 0]]), torch.arange(2, N + 2), 1e6)
    of_contexts = contexts - skipgram.contexts
    return (vectors - skipgram.vectors)[0], of_contexts[1], of_contexts[2:]


def filter_response(F: Tensor, b: Tensor, c: Tensor) -> Tensor:
    n, width, size = F.shape
    charcnn = CharCNN(CharCNNConfig(output_size=1, char_size=size, filters=((width, n),))).double()
    charcnn.convolutions[0].weight.data, charcnn.convolutions[0].bias.data = F.transpose(1, 2).contiguous(), b
    charcnn.chars.weight.data[1 : len(c) + 1] = c
    return charcnn.respond(torch.arange(1, len(c) + 1).unsqueeze(0))[0]


def lstm_step(x: Tensor, h: Tensor, c: Tensor, W: Tensor, U: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """A stack takes an even number of inputs, so one may have to be added, with weights of zero."""
    x, W = nn.functional.pad(x, (0, len(x) % 2)), nn.functional.pad(W, (0, len(x) % 2))
    config = BiLMConfig(vocab_size=1, hidden_size=len(h), projection_size=len(x) // 2, num_layers=1,
                        charcnn=CharCNNConfig(output_size=len(x)))
    stack = LSTMStack(config)
    with_weights(stack.lstms[0], weight_ih_l0=W, weight_hh_l0=U, bias_ih_l0=b, bias_hh_l0=torch.zeros_like(b))
    _, ((h, c),) = stack.double()(x.view(1, 1, -1), [(h.view(1, 1, -1), c.view(1, 1, -1))])
    return h.flatten(), c.flatten()


def stack_of(layers: list[Callable]) -> Callable:
    """Layers one above the other, called as an `LSTMStack` is."""

    def encode(x: Tensor, generator: None) -> tuple[list[Tensor], None]:
        outputs = []
        for layer in layers:
            x = layer(x)
            outputs.append(x)
        return outputs, None

    return encode


def both_directions(x: Tensor, lengths: Tensor, ahead: list[Callable], back: list[Callable]) -> Tensor:
    bilm = SimpleNamespace(forward_stack=stack_of(ahead), backward_stack=stack_of(back))
    return BiLM.forward(bilm, x, torch.arange(x.shape[1]) < lengths.unsqueeze(1))[1:]


def elmo_vector(h: Tensor, mask: Tensor, w: Tensor, gamma: Tensor) -> Tensor:
    mixed = with_weights(ScalarMix(len(w)), w=w, gamma=gamma)(h) * mask.unsqueeze(-1)
    return pool_tokens(mixed.unsqueeze(0), mask, "mean")[:, 0]


def mask_tokens(token_ids: Tensor, generator: torch.Generator, vocab_size: int) -> tuple[Tensor, Tensor]:
    return masking.mask_tokens(token_ids, generator, vocab_size=vocab_size)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    bias = (~mask)[:, None, None, :].to(q.dtype) * encoder.MASKED_SCORE
    return encoder.attention(*(part.unsqueeze(1) for part in (q, k, v)), bias).squeeze(1)


def masked_lm_loss(y: Tensor, labels: Tensor, W: Tensor, b: Tensor, norm: Callable, E: Tensor, c: Tensor) -> Tensor:
    V, D = E.shape
    model = encoder.MaskedLM(encoder.BertConfig(V, hidden_size=D, num_layers=1, num_heads=1)).double()
    model.norm = norm
    with_weights(model, **{"dense.weight": W, "dense.bias": b, "bias": c, "bert.embeddings.tokens.weight": E})
    model.bert.layers = lambda token_ids, mask, generator, wanted: [y.flatten(0, 1)[wanted]]
    return model.loss(torch.zeros_like(labels), labels)


def layer_rates(num_groups: int, learning_rate: float, layer_decay: float) -> list[float]:
    return group_rates(num_groups, learning_rate, layer_decay)


def forgetting(logits_before: Tensor, logits_after: Tensor, targets: Tensor) -> float:
    """The loss of one direction, over a softmax that passes on what it is given."""
    V = logits_before.shape[-1]
    same = with_weights(WordSoftmax(V, V), weight=torch.eye(V).double(), bias=torch.zeros(V).double())

    def loss(logits: Tensor) -> Tensor:
        stack = lambda x, state, generator: ([x], [])
        bilm = SimpleNamespace(stacks=lambda: [stack], softmax=same, config=SimpleNamespace(dropout=0.0))
        return BiLM.direction_loss(bilm, 0, logits, targets)[0]

    return (loss(logits_after) - loss(logits_before)).item()


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    bias = Gpt.attention_bias(None, q, None)
    return encoder.attention(*(part.unsqueeze(1) for part in (q, k, v)), bias).squeeze(1)


def next_piece_loss(logits: Tensor, token_ids: Tensor) -> Tensor:
    """A row is read between [CLS] and [SEP]; here its first piece stands for [CLS], and a [SEP] is added."""
    inputs, labels = next_pieces(nn.functional.pad(token_ids, (0, 1)))
    gpt = SimpleNamespace(decode=lambda *_: (logits[:, : inputs.shape[1]][labels != PAD_ID], labels[labels != PAD_ID]))
    return encoder.MaskedLM.loss(gpt, inputs, labels)


def prompt_answers(logits: Tensor, token_ids: Tensor, positive: int, negative: int,
                   unlabelled: Tensor) -> tuple[Tensor, Tensor]:
    """Asked one by one, since `scores` sorts questions by length; above the median, as `finetune.prompt` judges."""
    model = SimpleNamespace(bias=torch.zeros(1), logits=lambda y: y)
    s = []
    for z, question in zip(logits, token_ids):
        model.bert = SimpleNamespace(layers=lambda ids, mask, generator, wanted, z=z: [z[wanted]])
        s.append(prompts.scores(model, [question.numpy()], [[positive, negative]]))
    s = torch.cat(s)  # (N, 1)
    right = [prompts.accuracies(row.unsqueeze(0), np.ones(1), unlabelled.median().float())[0] for row in s]
    return s[:, 0], torch.tensor(right).bool()


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The whole loss, of which the soft targets alone count, over logits in the place of states."""
    def network(z: Tensor) -> SimpleNamespace:
        return SimpleNamespace(bert=SimpleNamespace(layers=lambda *_: [z.unsqueeze(0)]), logits=lambda y: y)

    taught, teaching = network(student), network(teacher)
    teaching.to = lambda device: teaching
    taught._teacher, taught.distillation = (teaching,), DistillationConfig(1.0, 0.0, 0.0, temperature)
    masked = torch.zeros(1, len(student), dtype=torch.int64)
    return Student.loss(taught, masked, masked)


def glove_loss(w: Tensor, w_: Tensor, b: Tensor, b_: Tensor, X: Tensor, x_max: float) -> Tensor:
    """The squared error of each pair by itself, which a step returns that moves nothing, times the pair's weight."""
    i, j = X.nonzero(as_tuple=True)
    x = X[i, j].float()
    model = glove.GloVe(glove.Pairs(i.int(), j.int(), x), len(w), w.shape[1], torch.Generator())
    model.vectors, model.contexts, model.bias, model.context_bias = (
        part.float() for part in (w, w_, b.unsqueeze(1), b_.unsqueeze(1)))
    errors = torch.tensor([model.step(*(part[p : p + 1] for part in (i, j, x)), 0.0) for p in range(len(x))])
    return glove.pair_weight(x, x_max) @ errors
