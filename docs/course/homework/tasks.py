"""The tasks: what each is worth, what it takes, and the message for a stub that is still empty."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import grade_after_bert
import grade_bert
import grade_elmo
import grade_static
import grade_transfer
from wrong import NotWritten, Wrong


@dataclass(frozen=True)
class Task:
    """One function to write.

    name: of the function, in the student's file and of its grader.  minutes: an estimate.  hint: how to begin.
    """

    number: int
    name: str
    title: str
    lecture: str
    difficulty: str
    minutes: int
    points: int
    formula: str
    chapter: str
    hint: str
    grade: Callable[[Callable], None]

    @property
    def core(self) -> bool:
        """Whether it belongs to the ten for the lecture up to section 5; the others are extra."""
        return self.number <= 10

    def complaint(self, answers: ModuleType) -> str | None:
        """What is wrong with the answer in a student's file; None if nothing is."""
        heading = f"Task {self.number}, {self.name}: "
        function = getattr(answers, self.name, None)
        if not callable(function):
            return f"{heading}there is no function of this name in the file. Its signature is in stubs.py."
        try:
            self.grade(function)
        except NotWritten:
            return (f"{heading}not written yet.\n  What it computes: {self.formula}\n  To begin: {self.hint}\n"
                    f"  To read: {self.chapter}, lecture {self.lecture}. About {self.minutes} minutes, "
                    f"{self.points} points.")
        except Wrong as wrong:
            return f"{heading}{wrong}"
        return None


TASKS = (
    Task(1, "skipgram_gradient", "the gradient of skip-gram", "2.1", "★★", 30, 10,
         "the gradient of −log σ(c·o) − Σ_n log σ(−c·o_n)", "minitransfer/static/skipgram.py",
         "show on paper that d(−log σ(x))/dx = σ(x) − 1; then use the chain rule for each of c, o and o_n.",
         grade_static.skipgram_gradient),
    Task(2, "filter_response", "the filters of a character CNN", "2.4", "★★", 30, 10,
         "relu(b_j + max_i F_j · [c_i; …; c_{i+w−1}])", "minitransfer/elmo/charcnn.py",
         "put w − 1 rows of zeros behind the word, cut out a window at each byte, and keep each filter's maximum.",
         grade_static.filter_response),
    Task(3, "lstm_step", "one step of an LSTM", "2.3", "★", 20, 10,
         "c' = f ⊙ c + i ⊙ g,  h' = o ⊙ tanh(c')", "minitransfer/elmo/bilm.py",
         "compute a = W x + U h + b, and cut it into four blocks with a.chunk(4): i, f, g, o.",
         grade_elmo.lstm_step),
    Task(4, "both_directions", "two directions without a leak", "2.3", "★★★", 45, 15,
         "forward states left, backward states right, and neither sees what it predicts", "minitransfer/elmo/bilm.py",
         "write a function that reverses each text within its own length; it is its own inverse. Then run each model "
         "through all its layers by itself, and put the two side by side only at the end.",
         grade_elmo.both_directions),
    Task(5, "elmo_vector", "scalar mix and mean", "2.4, 5.2", "★", 20, 10,
         "mean_t γ Σ_k s_k h_{t,k},  s = softmax(w)", "minitransfer/elmo/mix.py",
         "mix the layers first, (L + 1, B, T, D) to (B, T, D); then sum over the real tokens, divide by their number.",
         grade_elmo.elmo_vector),
    Task(6, "mask_tokens", "masking", "3.4", "★★★", 45, 15,
         "15 % chosen; of these 80 % [MASK], 10 % a random piece, 10 % themselves", "minitransfer/bert/masking.py",
         "draw two uniform numbers for each piece: one decides whether it is chosen, one what becomes of it.",
         grade_bert.mask_tokens),
    Task(7, "attention", "attention", "3.4", "★★", 30, 10,
         "softmax(q kᵀ / √d) v over the keys that are real tokens", "minitransfer/bert/encoder.py",
         "compute the scores (B, T, S) first, then make those of padding −∞, then take the softmax over the last axis.",
         grade_bert.attention),
    Task(8, "masked_lm_loss", "the masked-LM head and its loss", "3.4", "★★", 30, 10,
         "logits = E norm(GELU(W y + b)) + c, and the mean of −log softmax(logits)[label] over masked tokens",
         "minitransfer/bert/encoder.py",
         "keep only the states and labels where the label is not IGNORE_INDEX; then the rest is on (N, D).",
         grade_bert.masked_lm_loss),
    Task(9, "layer_rates", "rates that fall from layer to layer", "4.2", "★", 10, 5,
         "η_l = η δ^(G − l),  l = 1 … G", "minitransfer/transfer/freezing.py",
         "write down the list for G = 3 by hand; which of the three is η itself?",
         grade_transfer.layer_rates),
    Task(10, "forgetting", "forgetting", "3.2", "★", 15, 5,
         "L_after − L_before, each the mean of −log p per real token", "finetune/imdb/forgetting.py",
         "write a function for L first, with log_softmax and gather; then call it twice.",
         grade_transfer.forgetting),
    Task(11, "causal_attention", "attention under a causal mask", "4.1", "★★", 25, 10,
         "Σ_{t ≤ s} a_{s,t} v_t,  a_s = softmax of q_s · k_t / √d over t ≤ s", "minitransfer/gpt/causal.py",
         "write the mask of 4 tokens on paper, a row for each s; then make the scores above its diagonal −∞ and go on "
         "as in task 7.",
         grade_after_bert.causal_attention),
    Task(12, "next_piece_loss", "the loss of GPT", "4.1", "★", 15, 5,
         "the mean of −log softmax(logits_t)[w_{t+1}] over places whose next piece is real",
         "minitransfer/gpt/causal.py",
         "which piece is asked for at the first place, and which at the last but one? Cut both tensors accordingly.",
         grade_after_bert.next_piece_loss),
    Task(13, "prompt_answers", "the answer to a prompt", "7", "★", 20, 5,
         "log p(w⁺) − log p(w⁻) at [MASK], and whether it is above the median of reviews without labels",
         "minitransfer/transfer/prompts.py",
         "find each text's [MASK] first, (N, V) of the logits; then ask what the softmax does to a difference of logs.",
         grade_after_bert.prompt_answers),
    Task(14, "distillation_loss", "soft targets", "6", "★★", 25, 10,
         "τ² · mean of KL(p ‖ q),  p and q the softmax of the logits / τ", "minitransfer/bert/distillation.py",
         "take log_softmax of both logits over τ; KL is Σ_w p (log p − log q), and of which of the two is p?",
         grade_after_bert.distillation_loss),
    Task(15, "glove_loss", "the loss of GloVe", "2.1", "★", 15, 5,
         "Σ_ij f(X_ij) (w_i·w̃_j + b_i + b̃_j − log X_ij)²,  f(x) = min(1, (x / x_max)^¾)",
         "minitransfer/static/glove.py",
         "find the pairs with X_ij > 0 first; the error of one of them is a dot product, two biases and a logarithm.",
         grade_static.glove_loss),
)
