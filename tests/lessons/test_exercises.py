"""Claims that answer questions of docs/exercises.md: each is worked out here once more, by a loop or by hand.

A name opens with the number of its exercise. And each exercise has an answer, behind a link, in docs/answers.md. Of
docs/going-further.md too: what it leads to exists.
"""

import math
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from classifier_runs import classifier, polarity_classifier
from encoder_runs import make_bilm, make_oracle

from finetune.average.average import geometric_mean
from minitransfer.bert.encoder import Bert, BertConfig, attention
from minitransfer.bert.masking import mask_tokens, unigram_entropy
from minitransfer.elmo.bilm import BiLMConfig, LSTMStack
from minitransfer.elmo.charcnn import CharCNNConfig
from minitransfer.elmo.mix import ScalarMix
from minitransfer.elmo.softmax import WordSoftmax
from minitransfer.gpt.causal import CausalLM
from minitransfer.text.batching import batches_by_length
from minitransfer.text.packing import pack
from minitransfer.text.sample import reviews
from minitransfer.text.wordpiece import SEP_ID
from minitransfer.text.words import tokenize
from minitransfer.transfer.erasure import word_importances
from minitransfer.transfer.examples import predict
from minitransfer.transfer.features import pool_tokens
from minitransfer.transfer.freezing import group_rates
from minitransfer.transfer.stopping import scores_of
from pretrain.inspect.agreement import NOUNS, phrases

ROOT = Path(__file__).parents[2]
DOCS = ("exercises.md", "going-further.md")
EXERCISES = (ROOT / "docs" / "exercises.md").read_text("utf-8")
ANSWERS = (ROOT / "docs" / "answers.md").read_text("utf-8")


def padding(lengths, batches):
    """The share of a set of batches that is padding."""
    places = sum(len(rows) * max(lengths[i] for i in rows) for rows in batches)
    return 1 - sum(lengths[i] for rows in batches for i in rows) / places


def test_1_2_texts_of_like_length_together_need_less_than_a_tenth_of_the_padding():
    lengths = [len(tokenize(text)) for text, _ in reviews()[0]]
    as_they_come = [range(i, min(i + 32, len(lengths))) for i in range(0, len(lengths), 32)]
    assert padding(lengths, list(batches_by_length(lengths, 2048))) < padding(lengths, as_they_come) / 10


def unpack(rows):
    """The documents that rows of pieces were packed from, but for an end that filled no row."""
    documents = [[]]
    for piece in (int(piece) for row in rows for piece in row[1:-1]):
        if piece == SEP_ID:
            documents.append([])
        else:
            documents[-1].append(piece)
    return documents


def test_1_4_packing_loses_nothing_but_what_fills_no_row():
    documents = [list(range(10, 17)), [20], list(range(30, 43)), [50, 51]]
    found = unpack(pack([np.array(document) for document in documents], 7))
    assert found[:3] == documents[:3] and found[3] == documents[3][: len(found[3])]
    assert sum(map(len, documents)) - sum(map(len, found)) < 7 - 2  # less than the body of a row


def log_sigmoid(x):
    return -math.log(1 + math.exp(-x))


@pytest.mark.parametrize("x", [-2.5, -0.1, 0.0, 1.3])
def test_2_1_the_slope_of_minus_log_sigma_is_sigma_minus_one(x):
    slope = (-log_sigmoid(x + 1e-5) + log_sigmoid(x - 1e-5)) / 2e-5
    assert slope == pytest.approx(1 / (1 + math.exp(-x)) - 1, abs=1e-8)


def test_2_2_skip_gram_is_content_where_c_o_is_the_pmi_less_log_N():
    """n · log σ(x) + N · n(w) p(v) · log σ(−x) is greatest at x = log(p(w, v) / (p(w) p(v))) − log N."""
    together, of_word, of_context, pairs, N = 40, 200, 90, 3_000, 5
    pmi = math.log((together / pairs) / ((of_word / pairs) * (of_context / pairs)))

    def gain(x):
        return together * log_sigmoid(x) + N * of_word * (of_context / pairs) * log_sigmoid(-x)

    grid = [i / 1000 for i in range(-6_000, 6_000)]
    assert max(grid, key=gain) == pytest.approx(pmi - math.log(N), abs=1e-3)


def test_2_5_beside_biases_of_chance_glove_leaves_the_pmi_to_the_product():
    X = np.array([[0.0, 6, 2], [6, 4, 1], [2, 1, 0]])
    of_word, total = X.sum(axis=1), X.sum()
    for i, j in zip(*X.nonzero()):
        product = math.log(X[i, j]) - sum(math.log(of_word[k]) - math.log(total) / 2 for k in (i, j))
        assert product == pytest.approx(math.log((X[i, j] / total) / (of_word[i] / total * of_word[j] / total)))


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders")
    make_oracle(path / "oracle"), make_bilm(path / "bilm")
    return path


@pytest.mark.parametrize("kind, sees_order", [("oracle", False), ("bilm", True)])
def test_2_4_a_mean_of_static_vectors_cannot_tell_two_orders_of_the_same_words_apart(encoders, kind, sees_order):
    model = classifier(encoders, kind, "mean")
    p = predict(model, model.encoder.tokenise(["not dull , but superb", "not superb , but dull"], 9))
    assert (abs(p[0, 0] - p[1, 0]) > 1e-5) == sees_order


def test_3_1_the_perplexity_of_guessing_uniformly_over_V_words_is_V():
    softmax = WordSoftmax(37, 5)
    torch.nn.init.zeros_(softmax.weight)
    h, targets = torch.randn(11, 5), torch.randint(37, (11,))
    assert math.exp(softmax.full_loss(h, targets).item() / 11) == pytest.approx(37, rel=1e-5)


def test_3_1_and_of_guessing_by_frequency_it_is_e_to_the_entropy():
    counts = [7, 1, 4, 9]
    softmax = WordSoftmax(4, 5)
    torch.nn.init.zeros_(softmax.weight)
    softmax.bias.data = torch.tensor(counts).log()
    text = torch.tensor([w for w, n in enumerate(counts) for _ in range(n)])
    nats = softmax.full_loss(torch.randn(21, 5), text).item() / 21
    assert math.exp(nats) == pytest.approx(math.exp(unigram_entropy(np.array(counts))), rel=1e-5)


def test_3_2_a_bidirectional_second_layer_is_told_the_word_that_its_forward_half_is_to_predict():
    """Of torch's own two-layer biLSTM the forward half sees the last word, in its second layer; ours never does."""
    torch.manual_seed(0)
    x, H = torch.randn(1, 7, 10), 6
    other = torch.cat([x[:, :-1], torch.randn(1, 1, 10)], dim=1)
    for num_layers in (1, 2):
        leaky = torch.nn.LSTM(10, H, num_layers, bidirectional=True, batch_first=True)
        moved = not torch.equal(leaky(x)[0][:, :-1, :H], leaky(other)[0][:, :-1, :H])
        assert moved == (num_layers == 2)
    chars = CharCNNConfig(output_size=10, char_size=3, filters=((1, 2),))
    ours = LSTMStack(BiLMConfig(vocab_size=9, hidden_size=H, projection_size=5, num_layers=2, charcnn=chars))
    for before, after in zip(ours(x)[0], ours(other)[0]):
        assert torch.equal(before[:, :-1], after[:, :-1])


def test_3_4_adding_the_same_to_every_weight_of_a_mix_changes_nothing_only_gamma_rescales():
    h, mix = torch.randn(3, 5, 7), ScalarMix(3)
    mix.w.data = torch.tensor([0.3, -1.0, 2.0])
    before = mix(h)
    mix.w.data += 5
    assert torch.allclose(mix(h), before, atol=1e-6)
    mix.gamma.data *= 4
    assert torch.allclose(mix(h), 4 * before, atol=1e-5)


def test_4_1_of_a_hundred_pieces_thirteen_and_a_half_are_read_as_something_else():
    V, B, T = 23, 300, 400
    token_ids = torch.randint(5, V, (B, T), generator=torch.Generator().manual_seed(1))
    inputs, _ = mask_tokens(token_ids, torch.Generator().manual_seed(2), vocab_size=V)
    expected = 0.15 * (0.8 + 0.1 * (1 - 1 / (V - 5)))  # a random piece may be the one that stood there
    deviation = math.sqrt(expected * (1 - expected) / (B * T))
    assert abs((inputs != token_ids).double().mean().item() - expected) < 5 * deviation


def test_4_2_no_guess_that_ignores_the_text_costs_less_than_the_entropy():
    counts = np.array([5, 0, 17, 2, 1])
    p = counts / counts.sum()
    entropy = unigram_entropy(counts)
    draw = np.random.default_rng(0)
    assert -sum(a * math.log(a) for a in p if a) == pytest.approx(entropy)
    for q in draw.dirichlet(np.ones(5), 50):
        assert -sum(a * math.log(b) for a, b in zip(p, q) if a) > entropy


@pytest.mark.parametrize("positions", [False, True])
def test_4_3_without_positions_bert_reads_a_bag(positions):
    torch.manual_seed(0)
    bert = Bert(BertConfig(vocab_size=29, hidden_size=12, num_layers=2, num_heads=3, intermediate_size=17,
                           max_positions=11)).eval()
    bert.embeddings.positions.weight.data.mul_(50.0 if positions else 0.0)
    token_ids, order = torch.tensor([[7, 3, 22, 9, 14]]), torch.tensor([4, 0, 3, 1, 2])
    with torch.no_grad():
        straight, shuffled = bert(token_ids), bert(token_ids[:, order])
    assert torch.allclose(straight[:, :, order], shuffled, atol=1e-5) != positions


def test_4_4_where_all_keys_are_alike_attention_is_a_mean():
    q, v = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4)
    k = torch.randn(2, 3, 1, 4).expand(2, 3, 7, 4)
    assert torch.allclose(attention(q, k, v), v.mean(dim=2, keepdim=True).expand(2, 3, 5, 4), atol=1e-6)


def test_4_4_the_root_of_d_keeps_scores_at_a_spread_of_one_whatever_the_width():
    """For v the unit vectors, attention gives the weights themselves; their logarithms spread as the scores do."""
    for d in (4, 64, 256):
        q, k = torch.randn(2, 1, 1, 200, d, generator=torch.Generator().manual_seed(d))
        spread = attention(q, k, torch.eye(200).view(1, 1, 200, 200)).log().std(dim=-1).mean().item()
        assert spread == pytest.approx(1, rel=0.1)


def test_5_1_without_positions_a_gpt_sees_the_order_from_its_second_block_on():
    torch.manual_seed(0)
    model = CausalLM(BertConfig(vocab_size=29, hidden_size=12, num_layers=2, num_heads=3, intermediate_size=17,
                                max_positions=11)).double()
    model.bert.embeddings.positions.weight.data.zero_()
    with torch.no_grad():
        straight, turned = model.bert(torch.tensor([[7, 3, 22, 9, 14]])), model.bert(torch.tensor([[22, 9, 7, 3, 14]]))
    assert torch.allclose(straight[:2, 0, -1], turned[:2, 0, -1], atol=1e-12)
    assert not torch.allclose(straight[2, 0, -1], turned[2, 0, -1], atol=1e-7)


def test_every_exercise_that_a_test_answers_exists_and_the_other_way_round():
    here = Path(__file__).read_text("utf-8")
    for number in re.findall(r"`test_(\d_\d)`", EXERCISES):
        assert f"def test_{number}_" in here, number
    for part, place in re.findall(r"def test_(\d)_(\d)_", here):
        assert f"### {'I II III IV V VI'.split()[int(part) - 1]}.{place} " in EXERCISES, (part, place)


def sections(text: str) -> dict[str, str]:
    """What stands under each heading of the third level."""
    parts = re.split(r"^##+ (.*)\n", text, flags=re.MULTILINE)[1:]
    return {head: body for head, body in zip(parts[::2], parts[1::2]) if re.match(r"[IV]+\.\d ", head)}


def anchor(heading: str) -> str:
    """The address that a heading has on a page: lower case, letters and digits kept, spaces as hyphens."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_each_exercise_has_an_answer_behind_its_own_link_and_does_not_give_it_away():
    asked, answered = sections(EXERCISES), sections(ANSWERS)
    assert list(asked) == list(answered) and len(asked) > 20 and all(text.strip() for text in answered.values())
    for heading, text in asked.items():
        assert re.findall(r"\]\(answers\.md(#\S*?)\)", text) == [f"#{anchor(heading)}"]
        looked_for = text.partition("*Look for:*")[2]
        assert looked_for and not re.search(r"\d\s*%|\d nats", looked_for), heading


@pytest.mark.parametrize("name", [*DOCS, "answers.md"])
def test_every_file_that_the_page_leads_to_exists(name):
    text = (ROOT / "docs" / name).read_text("utf-8")
    links = re.findall(r"\]\(([\w/.-]+)(?:#[\w-]+)?\)", text)
    assert links and [link for link in links if not (ROOT / "docs" / link).is_file()] == []


@pytest.mark.parametrize("name", DOCS)
def test_every_command_on_the_page_is_understood(name):
    """Each is read by its own parser, all in one process, without being run."""
    text = (ROOT / "docs" / name).read_text("utf-8")
    start = r"(?:python|torchrun --nproc-per-node \d) -m ((?:pretrain|finetune)\.\w+|minitransfer\.huggingface)"
    commands = re.findall(rf"^{start} (.*?)(?: +#.*)?$", text, re.MULTILINE)
    assert len(commands) > 10
    program = ("import shlex, sys\nsys.path.insert(0, 'tests/helpers')\nfrom commands import read_flags\n"
               "for line in sys.stdin:\n"
               "    name, *flags = shlex.split(line)\n"
               "    read_flags(name, flags)\n")
    lines = "\n".join(" ".join(command) for command in commands)
    done = subprocess.run([sys.executable, "-c", program], input=lines, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_5_2_of_two_phrases_with_the_same_end_a_model_without_a_subject_has_one_right():
    ends = defaultdict(list)
    for phrase in phrases():
        subject = next(noun for noun in NOUNS if phrase.words[1] in noun)
        ends[subject, phrase.words[2:]].append(phrase)
    pairs = [both for (_, end), both in ends.items() if end]
    assert len(pairs) == 792
    for both in pairs:
        assert len(both) == len({phrase.plural for phrase in both}) == len({phrase.kind for phrase in both}) == 2


@pytest.mark.parametrize("pool, exact", [("mean", True), ("mean-max", False), ("concat", False)])
def test_6_1_a_mix_of_pooled_layers_is_the_pool_of_mixed_ones_for_the_mean_alone(pool, exact):
    """Two layers of one dimension, two tokens: 0, 4 and 2, 0. Their half-and-half mix is 1, 2."""
    layers, mask = torch.tensor([[[[0.0], [4.0]]], [[[2.0], [0.0]]]]), torch.ones(1, 2, dtype=torch.bool)
    mixed = layers.mean(dim=0, keepdim=True)
    of_pools = pool_tokens(layers, mask, pool).mean(dim=1)
    assert torch.allclose(of_pools, pool_tokens(mixed, mask, pool)[:, 0]) == exact


def test_6_3_the_lowest_of_five_groups_learns_a_tenth_as_fast_if_delta_is_the_fourth_root_of_a_tenth():
    rates = group_rates(5, 1e-3, 0.1 ** (1 / 4))
    assert rates[0] == pytest.approx(1e-4) and rates[-1] == 1e-3
    assert group_rates(5, 1e-3, 1.0) == [1e-3] * 5


def test_6_4_two_runs_on_600_reviews_differ_by_two_points_by_chance_alone():
    """The deviation of a difference of two shares p, each of n independent answers: √(2 p (1 − p) / n)."""
    p, n = 0.88, 600
    draw = np.random.default_rng(0)
    differences = draw.binomial(n, p, 20_000) / n - draw.binomial(n, p, 20_000) / n
    expected = math.sqrt(2 * p * (1 - p) / n)
    assert differences.std() == pytest.approx(expected, rel=0.03) and 0.018 < expected < 0.020


def test_6_5_a_word_that_is_said_twice_is_missed_less(encoders):
    model = polarity_classifier(encoders)
    once, twice = ("the plot is dull and it was by nora", "the plot is dull and it was dull by nora")
    (alone,) = (weight for word, weight in word_importances(model, once, 20, 0) if word == "dull")
    for word, weight in word_importances(model, twice, 20, 0):
        assert word != "dull" or 0 < weight < alone


def test_6_6_accuracy_prefers_the_classifier_that_knows_nothing_and_macro_f1_the_other():
    neutral, good, bad = 0, 1, 2
    labels = torch.tensor([neutral] * 90 + [good] * 6 + [bad] * 4)
    answers = {"A": [neutral] * 100,
               "B": [neutral] * 70 + [good] * 20 + [good] * 5 + [neutral] + [bad] * 3 + [neutral]}
    A, B = (scores_of(torch.eye(3)[torch.tensor(given)], labels) for given in answers.values())
    assert (A.accuracy, B.accuracy) == pytest.approx((0.9, 0.78))
    assert A.recalls == [1, 0, 0] and B.recalls == pytest.approx([70 / 90, 5 / 6, 3 / 4])
    assert A.macro_f1 == pytest.approx(180 / 190 / 3)
    assert B.macro_f1 == pytest.approx((140 / 162 + 10 / 31 + 6 / 7) / 3)


def test_6_8_the_geometric_mean_of_probabilities_is_the_softmax_of_the_mean_logits():
    z, weights = torch.randn(3, 7, 4).double(), torch.tensor([0.5, 0.2, 0.3]).double()
    of_logits = torch.einsum("k,kny->ny", weights, z).softmax(dim=1)
    assert torch.allclose(geometric_mean(z, weights).exp(), of_logits, atol=1e-12)
