"""Claims of minitransfer/transfer/prompts.py: the question is built as it says, and the score is the formula."""

import math

import numpy as np
import pytest
import torch

from minitransfer.bert.encoder import BertConfig, MaskedLM
from minitransfer.gpt.causal import CausalLM
from minitransfer.text.wordpiece import CLS_ID, MASK_ID, SEP_ID, train_wordpiece
from minitransfer.transfer.prompts import PAIRS, TEMPLATES, Template, accuracies, scores, single_pieces, word_logits

TEXT = ["it was a great film , all in all ! just good , bad and terrible in short . the film was great"] * 9


@pytest.fixture(scope="module")
def wordpiece():
    return train_wordpiece(TEXT, 120)


@pytest.fixture(scope="module")
def model(wordpiece):
    torch.manual_seed(3)
    return MaskedLM(BertConfig(vocab_size=wordpiece.vocab_size, hidden_size=12, num_layers=3, num_heads=3,
                               intermediate_size=20, max_positions=40)).eval()


@pytest.mark.parametrize("text", TEMPLATES)
def test_a_question_is_the_template_around_the_review(wordpiece, text):
    review = wordpiece.encode(["a good film"])[0]
    question = Template.of(text, wordpiece).fill(review, 40).tolist()
    whole = " ".join(wordpiece.pieces[i] for i in question)
    said = text.replace("{review}", "a good film").lower()
    for mark in ".,!":
        said = said.replace(mark, f" {mark}")
    assert whole == f"[CLS] {' '.join(said.split())} [SEP]".replace("[mask]", "[MASK]")
    assert question.count(MASK_ID) == 1 and (question[0], question[-1]) == (CLS_ID, SEP_ID)


def test_a_long_review_keeps_its_ends_and_the_template_is_whole(wordpiece):
    template, review = Template.of("{review} It was [MASK].", wordpiece), np.arange(5, 105)
    question = template.fill(review, 20)
    room = 20 - 2 - 4  # [CLS], [SEP], and: it was [MASK] .
    assert len(question) == 20 and question[1 : 1 + room].tolist() == [*range(5, 12), *range(98, 105)]
    assert question[-5:].tolist() == template.behind.tolist() + [SEP_ID]


@pytest.mark.parametrize("text", ["{review} It was fine.", "It was [MASK].", "{review} [MASK] [MASK]",
                                  "{review}{review} [MASK]"])
def test_a_template_has_one_review_and_one_gap(wordpiece, text):
    with pytest.raises(ValueError, match="a template has one"):
        Template.of(text, wordpiece)


def test_words_that_are_several_pieces_or_unknown_are_not_asked_for(wordpiece):
    assert set(single_pieces(PAIRS, wordpiece)) == {("great", "terrible"), ("good", "bad")}


def test_the_score_is_the_difference_of_log_probabilities_whatever_the_company(wordpiece, model):
    """Each question by itself, softmax over all pieces by hand."""
    template = Template.of("Just [MASK]! {review}", wordpiece)
    reviews = wordpiece.encode(["", "a good film", "it was a great film , all in all", "bad"])
    questions = [template.fill(review, 40) for review in reviews]
    pairs = list(single_pieces(PAIRS, wordpiece).values())
    found = scores(model, questions, pairs)
    for question, of_question in zip(questions, found.tolist()):
        logits = model(torch.from_numpy(question).unsqueeze(0))[0, question.tolist().index(MASK_ID)].tolist()
        total = sum(math.exp(z) for z in logits)
        log_p = [math.log(math.exp(z) / total) for z in logits]
        assert of_question == pytest.approx([log_p[a] - log_p[b] for a, b in pairs], abs=1e-4)


def test_accuracy_by_hand():
    s, labels = torch.tensor([[0.5, -1.0], [-0.5, -3.0], [2.0, -2.0]]), np.array([1, 0, 0])
    assert accuracies(s, labels) == pytest.approx([2 / 3, 2 / 3])
    assert accuracies(s, labels, s.median(dim=0).values) == pytest.approx([1 / 3, 1.0])


def test_a_gpt_is_asked_for_the_piece_that_comes_next_where_the_gap_begins(wordpiece, model):
    """Of each text by itself, cut before the gap; whatever stands behind it, and beside it in the batch."""
    torch.manual_seed(4)
    gpt, words = CausalLM(model.config).eval(), torch.tensor([[7, 9], [11, 6]])
    template = Template.of("{review} It was [MASK]. Just good", wordpiece)
    questions = [template.fill(review, 40) for review in wordpiece.encode(["", "a good film", "it was a great film"])]
    with torch.no_grad():
        found = word_logits(gpt, questions, words)
        for question, of_question in zip(questions, found):
            before = torch.from_numpy(question[: question.tolist().index(MASK_ID)])
            assert torch.allclose(of_question, gpt(before[None])[0, -1][words], atol=1e-5)


@pytest.mark.parametrize("text, behind", list(zip(TEMPLATES, (True, True, True, False))))
def test_only_where_the_gap_follows_the_review_has_a_gpt_read_it(wordpiece, text, behind):
    assert Template.of(text, wordpiece).asks_behind == behind


def test_examples_stand_before_the_question_in_templates_of_their_own_and_all_share_the_room(wordpiece):
    template = Template.of("{review} It was [MASK].", wordpiece)
    good, bad = (int(wordpiece.encode([word])[0][0]) for word in ("good", "bad"))
    long, short, review = np.arange(20, 50), np.arange(50, 53), np.arange(60, 90)
    question = template.fill(review, 40, [(long, good), (short, bad)]).tolist()
    it, was, full_stop = (int(wordpiece.encode([word])[0][0]) for word in ("it", "was", "."))
    room = (40 - 2) // 3 - 4
    assert room == 8
    assert question == [CLS_ID, *range(20, 24), *range(46, 50), it, was, good, full_stop, *range(50, 53), it, was, bad,
                        full_stop, *range(60, 64), *range(86, 90), it, was, MASK_ID, full_stop, SEP_ID]
