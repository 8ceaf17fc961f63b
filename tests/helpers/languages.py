"""Short reviews in several languages, whose opinion word alone tells what they say, and text to pretrain on."""

import random
from collections.abc import Sequence

# Of each language: patterns of a sentence, good words, bad words, things, and what stands between words.
LANGUAGES = {
    "german": (["{thing} {is} wirklich {opinion}.", "Ich fand: {thing} {is} {opinion}!",
                "{opinion} {is} {thing}, sagt er."],
               ["großartig", "wunderschön", "rührend"], ["öde", "grässlich", "überflüssig"],
               ["Der Film", "Die Geschichte", "Das Stück", "Die Bühne"], "ist"),
    "japanese": (["{thing}{is}本当に{opinion}。", "私には{thing}{is}{opinion}と思えた。",
                  "やはり{thing}{is}、{opinion}。"],
                 ["素晴らしい", "美しい", "感動した"], ["退屈だった", "ひどい", "つまらない"],
                 ["この映画", "その物語", "あの場面", "音楽"], "は"),
    "arabic": (["{thing} {is} {opinion} حقًا.", "أظن أن {thing} {is} {opinion}!", "{thing}: {is} {opinion}."],
               ["رائع", "جميل", "مُؤثِّر"], ["ممل", "سيئ", "فظيع"], ["الفيلم", "العرض", "المشهد", "الحوار"], "كان"),
    "emoji": (["{thing} {is} {opinion}", "{opinion}{opinion} {thing} {is}", "{thing}{opinion} {is}"],
              ["😀", "👍🏽", "❤️"], ["😡", "👎🏽", "💔"], ["the film", "this scene", "🎬", "👩‍🚀"], "…"),
}


def reviews_in(language: str, number: int, seed: int) -> tuple[list[str], list[int]]:
    """Reviews and their labels, of which each opinion word is in as many."""
    patterns, good, bad, things, verb = LANGUAGES[language]
    rng, labels = random.Random(seed), [i % 2 for i in range(number)]
    texts = [" ".join(rng.choice(patterns).format(thing=rng.choice(things), opinion=rng.choice((bad, good)[label]), **{
        "is": verb}) for _ in range(2)) for label in labels]
    return texts, labels


def own_text(languages: Sequence[str], lines: int = 200) -> str:
    """Text to pretrain on, ten lines to a document."""
    everything = [text for language in languages for text in reviews_in(language, lines, seed=7)[0]]
    return "\n\n".join("\n".join(everything[i : i + 10]) for i in range(0, len(everything), 10)) + "\n"
