"""Benchmarks: arithmetic. How many additions and multiplications does the biLM owe to each running word?

Words per second tell how fast a program is, but not how fast it could be. The FLOP that the mathematics asks for,
beside those that the machine can do, tell that: what is missing went to memory, to waiting and to elementwise work.

Next: steps.py, the work that is timed.
"""

from minitransfer.elmo.bilm import BiLMConfig


def lstm_flop(config: BiLMConfig) -> int:
    """One direction reading one word: Σ_k (2 · 4H (I_k + H) + 2 H P), where layer k has I_k inputs, 2P and then P."""
    H, P = config.hidden_size, config.projection_size
    inputs = [2 * P] + [P] * (config.num_layers - 1)
    return sum(2 * 4 * H * (I + H) + 2 * H * P for I in inputs)  # noqa: E741


def softmax_flop(config: BiLMConfig, outcomes: int) -> int:
    """One direction choosing among so many words: 2 P · outcomes."""
    return 2 * config.projection_size * outcomes


def spelling_flop(config: BiLMConfig, C: int) -> int:
    """The character CNN reading one word of C bytes, padding included: 2 C c Σ_i w_i n_i + 2 D Σ_i n_i.

    c is the width of a byte, and n_i filters are w_i bytes wide. Without highways. That is what a convolution asks for;
    a table of what each byte adds to each filter (`elmo.charcnn.tabulate`) needs fewer.
    """
    chars = config.charcnn
    convolutions = 2 * C * chars.char_size * sum(w * n for w, n in chars.filters)
    return convolutions + 2 * chars.output_size * sum(n for _, n in chars.filters)


def training_flop(config: BiLMConfig, outcomes: int, spelled: float, C: int) -> float:
    """One running word in training: 3 · (2 · LSTM + 2 · softmax + spelled · character CNN).

    3, because the way back costs twice the way forward; 2 directions; `spelled` words are spelled per running word.
    Matrix products and convolutions only, a sum and a product counted as two.
    """
    return 3 * (2 * lstm_flop(config) + 2 * softmax_flop(config, outcomes) + spelled * spelling_flop(config, C))
