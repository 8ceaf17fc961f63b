"""Parts III to V, around inspecting: agreement. Does a language model know which word a verb belongs to?

In "the king near the cities was" the verb agrees with *king*, though *cities* stands beside it: grammar decides, and
not the neighbour. So **subject-verb agreement** tells whether a language model has learned some grammar (Linzen et al.
2016). It takes no labels and no training, only which of two forms a model finds likelier:

    right  ⇔  log p(right form | the phrase) > log p(wrong form | the phrase)

BERT is asked at a [MASK], and also sees a few words behind it; a GPT and the forward direction of a biLM see the phrase
alone. Each phrase stands here in all combinations of singular and plural. So whoever prefers one form of the verb
whatever the phrase is right in half of them, and whoever follows the nearest noun in all of two kinds and none of the
third. For whoever looks at no more than that noun and what stands behind the subject, the shares of the last two kinds
sum to one, whatever is preferred. So the subject has an influence as far as they sum to more.

Read next: `pretrain.inspect.attention`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from minitransfer.apparatus.checkpoint import LoadedRun
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.text.wordpiece import MASK
from minitransfer.text.words import Vocabulary
from minitransfer.transfer.encoders import BiLMEncoder
from minitransfer.transfer.loading import load_encoder, load_with_head, softmax_of
from minitransfer.transfer.prompts import REVIEW, Template, scores, single_pieces

NOUNS = (("king", "kings"), ("city", "cities"), ("ship", "ships"), ("river", "rivers"), ("bird", "birds"),
         ("player", "players"), ("song", "songs"), ("tree", "trees"), ("church", "churches"), ("road", "roads"),
         ("film", "films"), ("village", "villages"))
LINKS = ("near", "behind", "of")
VERBS = {("is", "are"): "very old .", ("was", "were"): "very old .", ("has", "have"): "been here ."}  # and what follows
KINDS = {"no other noun": "the king is", "a noun of the same number between": "the king near the city is",
         "a noun of the other number between": "the king near the cities is"}


@dataclass(frozen=True)
class Phrase:
    """What a verb is to follow: its words, which of `KINDS` it is of, and whether its subject is a plural."""

    words: tuple[str, ...]
    kind: str
    plural: bool


def phrases() -> list[Phrase]:
    """All phrases: each noun as the subject, by itself and before each other noun, in both numbers."""
    alone, same, other = KINDS
    found = [Phrase(("the", noun[n]), alone, bool(n)) for noun, n in product(NOUNS, (0, 1))]
    for subject, n, link, noun, m in product(NOUNS, (0, 1), LINKS, NOUNS, (0, 1)):
        if noun != subject:
            found.append(Phrase(("the", subject[n], link, "the", noun[m]), same if n == m else other, bool(n)))
    return found


def preferences(run: LoadedRun, asked: Sequence[Phrase], device: torch.device) -> Tensor:
    """How much likelier a language model finds the singular of each verb than its plural, behind each phrase.

    s = log p(singular | phrase) − log p(plural | phrase) = z_singular − z_plural,   z the logits of its softmax

    Shapes: N phrases -> (N, W) float32, for the verbs of `VERBS` of which it can say both forms.
    Raises: CheckpointError if it can of none, or if the parts of the run do not fit together.
    """
    return (_by_words if run.kind == "bilm" else _by_pieces)(run, asked, device)


def right_share(s: Tensor, asked: Sequence[Phrase]) -> dict[str, float]:
    """Of each kind of phrase the share of phrases and verbs with the right form. Shapes: s (N, W), of N phrases."""
    plural = torch.tensor([phrase.plural for phrase in asked]).unsqueeze(1)
    right = torch.where(plural, s < 0, s > 0).double().mean(dim=1)
    return {kind: right[[phrase.kind == kind for phrase in asked]].mean().item() for kind in KINDS}


@torch.no_grad()
def _by_words(run: LoadedRun, asked: Sequence[Phrase], device: torch.device) -> Tensor:
    """As `preferences`, of the forward direction of a biLM, whose upper layer has y at the last word: z = W y + b."""
    encoder = load_encoder(run, device)
    assert isinstance(encoder, BiLMEncoder)
    softmax, ids = softmax_of(run, encoder), run.parsed("vocab.txt", Vocabulary.from_text).ids
    verbs = torch.tensor([[ids[form] for form in verb] for verb in VERBS if all(form in ids for form in verb)])
    _check_verbs(run, verbs.tolist())
    words = sorted({word for phrase in asked for word in phrase.words})
    table, s = encoder.token_table(words), torch.empty(len(asked), len(verbs))
    for length in {len(phrase.words) for phrase in asked}:
        rows = [i for i, phrase in enumerate(asked) if len(phrase.words) == length]
        x = table[torch.tensor([[words.index(word) for word in asked[i].words] for i in rows])]
        layers, _ = encoder.bilm.forward_stack(x)
        z = layers[-1][:, -1] @ softmax.weight[verbs].transpose(-1, -2) + softmax.bias[verbs].unsqueeze(1)  # (W, B, 2)
        s[rows] = (z[..., 0] - z[..., 1]).T.cpu()
    return s


def _by_pieces(run: LoadedRun, asked: Sequence[Phrase], device: torch.device) -> Tensor:
    """As `preferences`, of a BERT at [MASK], or of a GPT at the piece before it."""
    model, encoder = load_with_head(run, device)
    verbs = single_pieces(list(VERBS), encoder.wordpiece)
    _check_verbs(run, list(verbs))
    pieces = encoder.wordpiece.encode([" ".join(phrase.words) for phrase in asked])
    found = []
    for verb, ids in verbs.items():
        template = Template.of(f"{REVIEW} {MASK} {VERBS[verb]}", encoder.wordpiece)
        questions = [template.fill(of_phrase, encoder.max_tokens) for of_phrase in pieces]
        found.append(scores(model, questions, [ids]))
    return torch.cat(found, dim=1)


def _check_verbs(run: LoadedRun, verbs: Sequence) -> None:
    """Raises: CheckpointError if there is no verb whose two forms the run can tell apart."""
    if not verbs:
        forms = ", ".join("/".join(verb) for verb in VERBS)
        raise CheckpointError(f"of {forms} {run.path} knows no verb in both forms",
                              "use a run that was pretrained with more words, or on more text")
