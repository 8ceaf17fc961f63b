"""Part I, text into integers: the words of the built-in corpora.

What can stand in a slot? This file is only data, as are the two that follow it. `{slot}` stands for one entry of the
table of that name; `bank^river` stands for the word *bank* in its river sense, and the mark is taken off before the
text is used. Every ambiguous word carries its mark, so the grammar knows each sense it wrote.

The next file to read is `sample_articles.py`, which makes sentences of these words.
"""

# Names are made of syllables, so that most of them are rare and some names of the validation articles never occur in
# training: a model that reads characters has something to do there.
SHARED: dict[str, tuple[str, ...]] = {
    "syllable": ("Orr", "Tan", "Vel", "Mar", "Bren", "Cal", "Dun", "Esk", "Fen", "Gar", "Hald", "Ist", "Kel", "Lor",
                 "Mor", "Nar", "Pel", "Quen", "Ros", "Sel", "Thorn", "Vin", "Wes", "Yar"),
    "middle": ("", "", "en", "er", "in", "el", "ing"),
    "place": ("{syllable}{middle}ford", "{syllable}{middle}mere", "{syllable}{middle}wick", "{syllable}{middle}ham",
              "{syllable}{middle}stead", "{syllable}{middle}dale", "{syllable}{middle}holm", "{syllable}{middle}ton"),
    "river": ("{syllable}el", "{syllable}a", "{syllable}ow", "{syllable}is", "{syllable}ent", "{syllable}ona"),
    "region": ("{syllable}{middle}land", "{syllable}{middle}shire", "{syllable}{middle}mark"),
    "first": ("Ada", "Bruno", "Clara", "David", "Edith", "Felix", "Greta", "Hugo", "Irene", "Jonas", "Laura",
              "Martin", "Nora", "Oscar", "Paula", "Robert", "Sofia", "Thomas", "Vera", "Walter"),
    "surname": ("{syllable}{middle}ley", "{syllable}{middle}man", "{syllable}{middle}sen", "{syllable}{middle}well",
                "{syllable}{middle}ard", "{syllable}{middle}son"),
    "person": ("{first} {surname}",),
    "early": tuple(str(year) for year in range(1811, 1860)),
    "late": tuple(str(year) for year in range(1871, 1930)),
    "recent": tuple(str(year) for year in range(1946, 1990)),
    "few": ("two", "three", "four", "five", "six"),
    "several": ("seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen", "twenty"),
    "number": tuple(str(n) for n in range(21, 99)),
    "minutes": tuple(str(n) for n in range(81, 139)),
    "hundreds": tuple(str(n) for n in range(120, 960, 20)),
    "thousands": tuple(f"{n},{rest}" for n in range(2, 40) for rest in ("100", "400", "500", "800")),
    "compass": ("north", "south", "east", "west"),
    "side": ("left", "right", "northern", "southern"),
    "season": ("spring^season", "summer", "autumn", "winter"),
    "colour": ("grey", "black", "white", "brown", "red", "yellow", "silver"),
    "limb": ("neck", "wing", "head", "tail", "crown", "back", "breast"),
    "breed": ("hound", "terrier", "shepherd dog", "spaniel", "pointer"),
    "fish": ("trout", "salmon", "eels", "perch", "herring"),
    "tree": ("oak", "willow", "birch", "poplar", "alder", "pine"),
    "trader": ("farmers", "millers", "weavers", "bakers", "shipbuilders", "wool merchants"),
    "food": ("worms and beetles", "frogs and snails", "seeds and roots", "small fish and crabs"),
    "cargo": ("timber", "coal", "grain", "stone", "iron"),
    "rock": ("granite", "limestone", "sandstone", "marble"),
    "instrument": ("violin", "piano", "flute", "cello", "organ"),
    "genre": ("western", "comedy", "thriller", "romance", "musical", "war film", "detective story", "family drama"),
    "film": ("The {film_kind} {film_noun}", "The {film_noun} of {place}", "The {film_kind} {film_noun} of {place}"),
    "film_kind": ("Glass", "Silent", "Northern", "Last", "Paper", "Crimson", "Second", "Midnight", "Distant", "Iron"),
    "film_noun": ("Orchard", "Harbour", "Station", "Letter", "Garden", "Winter", "Lantern", "Stranger", "Journey"),
    "film_part": ("acting", "script", "music", "photography", "dialogue"),
    "role": ("a retired sailor", "a young doctor", "a travelling singer", "a country priest", "a widowed farmer",
             "an old detective", "a bank^money clerk", "a crane^machine driver", "a cricket captain"),
    "plot": ("returns to {place} to sell the family house", "has to hide a box of letters",
             "must cross the mountains in winter", "finds a map on the bank^river of the {river}",
             "searches for a lost brother", "plans to rob the bank^money in {place}", "inherits a theatre in {place}",
             "looks after {few} children for one {season}"),
}  # fmt: skip

# Words of two senses, or three, and the marks that tell them apart.
SENSES: dict[str, tuple[str, ...]] = {
    "bank": ("river", "money"),
    "bat": ("animal", "sport"),
    "spring": ("season", "water", "coil"),
    "bark": ("tree", "dog"),
    "pitch": ("music", "sport"),
    "seal": ("animal", "stamp"),
    "crane": ("bird", "machine"),
}

# The opinion words, by polarity, half and part of speech. No word of half A shares its first four letters with a word
# of half B, and no adjective or noun begins with a vowel: neither the spelling nor an "an" gives a polarity away.
LEXICON: dict[str, dict[str, dict[str, tuple[str, ...]]]] = {
    "positive": {
        "A": {
            "adjective": ("superb", "wonderful", "charming", "gripping", "clever", "splendid", "graceful",
                          "memorable", "touching", "brilliant"),
            "verb": ("delighted", "amused", "thrilled", "cheered"),
            "noun": ("triumph", "gem", "winner", "joy"),
        },
        "B": {
            "adjective": ("marvellous", "magnificent", "beautiful", "witty", "lovely", "moving", "fresh", "poetic",
                          "stirring", "terrific"),
            "verb": ("fascinated", "enchanted", "dazzled", "captivated"),
            "noun": ("masterpiece", "treat", "hit", "pleasure"),
        },
    },
    "negative": {
        "A": {
            "adjective": ("dreadful", "boring", "clumsy", "lifeless", "stale", "feeble", "tedious", "shallow",
                          "muddled", "ridiculous"),
            "verb": ("angered", "annoyed", "disgusted", "tired"),
            "noun": ("mess", "failure", "chore", "disgrace"),
        },
        "B": {
            "adjective": ("terrible", "dull", "wooden", "dismal", "silly", "hollow", "lazy", "painful", "sluggish",
                          "bland"),
            "verb": ("disappointed", "irritated", "exhausted", "depressed"),
            "noun": ("disaster", "flop", "nightmare", "blunder"),
        },
    },
}  # fmt: skip
