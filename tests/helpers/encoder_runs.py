"""Pretraining runs made by hand, for tests of transfer: a biLM, a BERT and a GPT of random weights, and static vectors
that know the answer.

Their shapes are odd and unequal, so that swapped axes cannot pass.
"""

from dataclasses import asdict
from pathlib import Path

import torch

from minitransfer.apparatus.checkpoint import RunDirectory
from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.elmo.bilm import BiLM, BiLMConfig
from minitransfer.elmo.charcnn import CharCNNConfig
from minitransfer.gpt.causal import CausalLM
from minitransfer.text.sample import LEXICON, reviews
from minitransfer.text.wordpiece import train_wordpiece
from minitransfer.text.words import SPECIAL_WORDS, tokenize

BILM = BiLMConfig(vocab_size=5, hidden_size=11, projection_size=7, num_layers=2,
                  charcnn=CharCNNConfig(output_size=14, char_size=3, filters=((1, 2), (3, 9)), num_highways=1))
WORDS = [*SPECIAL_WORDS, "the", "film"]


def save_run(path: Path, config: dict, tensors: dict, files: dict) -> Path:
    """A finished run directory with this config, these weights and these files."""
    with RunDirectory.create(path, config, resume=False) as run:
        run.save_model(tensors, files)
        run.mark_complete(1, {})
    return path


def make_bilm(path: Path, seed: int = 0, **changes) -> Path:
    """A biLM that has learnt nothing."""
    torch.manual_seed(seed)
    config = {"kind": "bilm", "model": asdict(BILM), "corpus": {"name": "sample", "fingerprint": "ab"},
              "preset": "tiny", "seed": seed, **changes}
    return save_run(path, config, BiLM(BILM).state_dict(), {"vocab.txt": "\n".join(WORDS) + "\n"})


def make_bert(path: Path, seed: int = 0, network: type[MaskedLM] = MaskedLM, **changes) -> Path:
    """A BERT that has learnt nothing but to cut the built-in reviews into pieces; it has room for 70 of them."""
    wordpiece = train_wordpiece([text for text, _ in reviews()[0]], 300)
    shape = BertConfig(wordpiece.vocab_size, hidden_size=18, num_layers=2, num_heads=3, intermediate_size=29,
                       max_positions=70)
    torch.manual_seed(seed)
    config = {"kind": "bert", "model": asdict(shape), "corpus": {"name": "sample", "fingerprint": "ab"},
              "preset": "tiny", "seed": seed, **changes}
    return save_run(path, config, network(shape).state_dict(), {"tokenizer.json": wordpiece.to_json()})


def make_gpt(path: Path, seed: int = 0, **changes) -> Path:
    """A GPT that has learnt nothing: the pieces and the shape of that BERT, and other weights."""
    return make_bert(path, seed, network=CausalLM, kind="gpt", **changes)


def make_static(path: Path, words: list[str], vectors: torch.Tensor, **changes) -> Path:
    """Static vectors given by hand, each word counted equally often."""
    config = {"kind": "static", "model": {"hidden_size": vectors.shape[1]}, "corpus": {"name": "by hand"},
              "preset": "tiny", "seed": 0, **changes}
    tensors = {"vectors": vectors, "contexts": vectors, "counts": torch.ones(len(words), dtype=torch.int64)}
    return save_run(path, config, tensors, {"vocab.txt": "\n".join(words) + "\n"})


def make_oracle(path: Path, hidden_size: int = 7) -> Path:
    """Static vectors of all words of the built-in reviews, whose first dimension is the word's polarity.

    It knows of every opinion word, those of the test half included, what unlabelled text would have taught it.
    """
    train, test, _ = reviews()
    words = [*SPECIAL_WORDS, *sorted({word for text, _ in train + test for word in tokenize(text)})]
    polarity = {word: sign for name, sign in (("positive", 1.0), ("negative", -1.0))
                for half in LEXICON[name].values() for kind in half.values() for word in kind}
    vectors = 0.1 * torch.randn(len(words), hidden_size, generator=torch.Generator().manual_seed(3))
    vectors[:, 0] += torch.tensor([polarity.get(word, 0.0) for word in words])
    return make_static(path, words, vectors)
