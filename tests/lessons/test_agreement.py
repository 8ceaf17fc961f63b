"""Claims about agreement: the phrases are balanced, so that rules without grammar get what they should; and what a
model prefers is the difference of its log-probabilities where it is asked.
"""

from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from encoder_runs import BILM, WORDS, make_bert, make_bilm, make_gpt, make_static, save_run

from minitransfer.apparatus.checkpoint import load_run
from minitransfer.apparatus.commands import run_command
from minitransfer.apparatus.errors import CheckpointError
from minitransfer.elmo.bilm import BiLM
from minitransfer.gpt.causal import CausalLM
from minitransfer.text.wordpiece import CLS_ID, MASK_ID, SEP_ID
from minitransfer.transfer.loading import load_encoder, load_with_head
from pretrain.inspect import look
from pretrain.inspect.agreement import KINDS, NOUNS, VERBS, Phrase, phrases, preferences, right_share

CPU = torch.device("cpu")
PLURALS = {plural for _, plural in NOUNS}


def by_rule(of_phrase) -> torch.Tensor:
    """What whoever follows a rule prefers: above 0 for the singular, for 3 verbs."""
    return torch.tensor([[1.0 if of_phrase(phrase) == "singular" else -1.0] * 3 for phrase in phrases()])


def number(noun: str) -> str:
    return "plural" if noun in PLURALS else "singular"


def test_each_kind_of_phrase_has_as_many_subjects_in_the_plural_and_no_phrase_comes_twice():
    asked = phrases()
    assert len({phrase.words for phrase in asked}) == len(asked)
    counts = Counter((phrase.kind, phrase.plural) for phrase in asked)
    pairs = len(NOUNS) * (len(NOUNS) - 1) * 3  # subject, other noun, link; both numbers of each are counted apart
    expected = dict(zip(KINDS, (len(NOUNS), pairs, pairs)))
    assert counts == {(kind, plural): expected[kind] for kind in KINDS for plural in (False, True)}
    for phrase in asked:
        nouns = [word for word in phrase.words if any(word in noun for noun in NOUNS)]
        assert phrase.plural == (nouns[0] in PLURALS)
        numbers = [number(noun) for noun in nouns]
        assert list(KINDS).index(phrase.kind) == (0 if len(numbers) == 1 else len(set(numbers)))


def test_rules_without_grammar_get_what_they_should():
    def shares(rule):
        return list(right_share(by_rule(rule), phrases()).values())

    assert shares(lambda phrase: number(phrase.words[1])) == [1, 1, 1]  # the subject's: that is grammar
    assert shares(lambda phrase: number(phrase.words[-1])) == [1, 1, 0]  # the nearest noun's
    assert shares(lambda phrase: "singular") == shares(lambda phrase: "plural") == [0.5, 0.5, 0.5]


def test_without_a_look_at_the_subject_the_last_two_shares_sum_to_one():
    torch.manual_seed(0)
    likings = {phrase.words[2:]: torch.randn(3) for phrase in phrases()}  # of each end of a phrase, for 3 verbs
    s = torch.stack([likings[phrase.words[2:]] for phrase in phrases()])
    alone, same, other = right_share(s, phrases()).values()
    assert alone == pytest.approx(0.5) and same + other == pytest.approx(1) and same != other


def test_a_preference_that_is_none_is_not_right():
    asked = [Phrase(("the", "king"), kind, plural) for kind in KINDS for plural in (False, True)]
    assert list(right_share(torch.zeros(6, 2), asked).values()) == [0, 0, 0]


@pytest.mark.parametrize("make", [make_bert, make_gpt])
def test_of_pieces_it_is_the_difference_of_log_probabilities_at_the_gap_or_before_it(make, tmp_path):
    run = load_run(make(tmp_path / "run"))
    model, encoder = load_with_head(run, CPU)
    verb = ("is", "are")  # the one whose forms are single pieces of this run
    asked = phrases()[::97]
    s = preferences(run, asked, CPU)
    assert s.shape == (len(asked), 1)
    forms = np.concatenate(encoder.wordpiece.encode(list(verb)))
    for phrase, (found,) in zip(asked, s.tolist()):
        before, behind = encoder.wordpiece.encode([" ".join(phrase.words), VERBS[verb]])
        ids = [CLS_ID, *before, MASK_ID, *behind, SEP_ID]
        at = ids.index(MASK_ID) - isinstance(model, CausalLM)
        log_p = model(torch.tensor([ids]))[0, at].log_softmax(dim=0)
        assert found == pytest.approx((log_p[forms[0]] - log_p[forms[1]]).item(), abs=1e-4)


def test_of_words_it_is_what_the_forward_stack_says_after_the_last_of_them(tmp_path):
    shape, words = replace(BILM, vocab_size=9), [*WORDS, "have", "was", "has", "were"]
    torch.manual_seed(3)
    model = BiLM(shape)
    config = {"kind": "bilm", "model": asdict(shape), "corpus": {"name": "sample", "fingerprint": "ab"},
              "preset": "tiny", "seed": 0}
    run = load_run(save_run(tmp_path / "bilm", config, model.state_dict(), {"vocab.txt": "\n".join(words) + "\n"}))
    asked = phrases()[::97]
    s, encoder = preferences(run, asked, CPU), load_encoder(run, CPU)
    for phrase, found in zip(asked, s.tolist()):
        x = encoder.token_table(phrase.words).unsqueeze(0)
        state = None
        for t in range(len(phrase.words)):  # one word after the other
            layers, state = model.forward_stack(x[:, t : t + 1], state)
        log_p = (model.softmax.weight @ layers[-1][0, 0] + model.softmax.bias).log_softmax(dim=0)
        expected = [log_p[words.index(a)] - log_p[words.index(b)] for a, b in (("was", "were"), ("has", "have"))]
        assert found == pytest.approx([difference.item() for difference in expected], abs=1e-5)


def test_a_run_that_knows_no_verb_in_both_forms_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="knows no verb in both forms"):
        preferences(load_run(make_bilm(tmp_path / "bilm")), phrases()[:3], CPU)


def test_the_command_shows_each_run_and_the_rule_of_the_nearest_noun(tmp_path, capsys):
    bert, gpt = make_bert(tmp_path / "bert"), make_gpt(tmp_path / "gpt")
    assert run_command(look.main, look.Settings, [str(bert), str(gpt), "--agreement"]) == 0
    out = capsys.readouterr().out
    for run in (bert, gpt):
        shares = right_share(preferences(load_run(run), phrases(), CPU), phrases())
        assert "".join(f"{share:8.3f}" for share in shares.values()) + f"  {run}\n" in out
    assert out.endswith("   1.000   1.000   0.000  whoever follows the nearest noun\n")


@pytest.mark.parametrize("flags, code, message", [
    ("", 4, "kind 'static', but --agreement needs a contextual one"),
    ("--out x.png", 2, "draws no picture"),
    ("--layer 1", 2, "--layer has no meaning with --agreement"),
])
def test_what_cannot_be_asked_is_refused_in_one_line(flags, code, message, tmp_path, capsys):
    run = make_static(tmp_path / "static", [*WORDS], torch.randn(len(WORDS), 4))
    assert run_command(look.main, look.Settings, [str(run), "--agreement", *flags.split()]) == code
    assert message in capsys.readouterr().err
