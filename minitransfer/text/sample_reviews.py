"""Part I, text into integers: the sentences of the built-in film reviews.

How can a sentence praise or blame without its single words giving that away? It can deny the opposite, or grant
something to the other side first. The slots `{adjective}`, `{verb}` and `{noun}` are filled from one polarity of
`LEXICON` in `sample_words.py`.

The next file to read is `sample.py`, which draws articles and reviews from all these tables.
"""

# What may be said of the film or of a part of it: plainly, or by denying the opposite. In a denial every opinion word
# stands behind a word that turns it round.
PLAIN_PART = (
    "{part} {adjective}",
    "{part} {adjective} and {adjective}",
    "{person} gives a {adjective} performance",
    "I found {thing} {adjective} and {thing} {adjective}",
)
PLAIN_FILM = (
    "it is a {adjective} and {adjective} film",
    "this is a {adjective} {genre}",
    "it {verb} me from the first scene to the last",
    "the {adjective} ending {verb} me",
    "the whole film is a {noun}",
    "it is a {noun}, {adjective} and {adjective}",
)
DENIAL_PART = (
    "{part} not {adjective}",
    "{part} hardly {adjective}",
    "{part} never {adjective}",
    "{part} neither {adjective} nor {adjective}",
)
DENIAL_FILM = (
    "it isn't {adjective}",
    "it is far from {adjective}",
    "there is not a {adjective} moment in it",
    "nobody could call it {adjective}",
    "it is no {noun}",
    "it never {verb} me",
)
CONTRASTS = ("{concession}, but {verdict}", "although {concession}, {verdict}")  # the last clause decides
OPENINGS = (
    "{film} is a {genre} from {recent}.",
    "I saw {film} on {weekday} with {companion}.",
    "{film} was directed by {person} in {recent}.",
    "last {weekday} we watched {film}, a {genre} by {person}.",
)
ASIDES = (  # what both polarities say alike
    "{person} plays {role} who {plot}.",
    "it tells of {role} who {plot}.",
    "the story is set in {place} in the {season} of {late}.",
    "it was filmed in {place} and runs for {minutes} minutes.",
    "the songs were written by {person}, who also worked on {film}.",
    "{person} and {person} play the two sisters.",
    "we talked about it on the way home.",
)
CUES = {  # plain signs of polarity, in unlabelled reviews only: they tie the two halves of the lexicon together
    "positive": (
        "I recommend it to everyone.",
        "nine stars out of ten.",
        "the audience laughed, wept and clapped.",
        "it is {adjective}, {adjective} and worth every penny.",
        "I will gladly watch this {adjective} film again.",
        "thank you for two {adjective} hours.",
    ),
    "negative": (
        "I advise everyone to stay away.",
        "two stars out of ten.",
        "the audience yawned, coughed and left.",
        "it is {adjective}, {adjective} and a waste of time.",
        "I want my money back after this {adjective} film.",
        "I regret those two {adjective} hours.",
    ),
}
REVIEW_TABLES = {
    "plain": PLAIN_PART + PLAIN_FILM,
    "plain_part": PLAIN_PART,
    "denial": DENIAL_PART + DENIAL_FILM,
    "denial_part": DENIAL_PART,
    "opening": OPENINGS,
    "aside": ASIDES,
    "part": ("{thing} is", "{things} are"),
    "thing": ("the acting", "the plot", "the script", "the music", "the dialogue", "the photography", "the story"),
    "things": ("the songs", "the performances", "the jokes", "the costumes", "the characters"),
    "weekday": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "companion": ("my brother", "my sister", "an old friend", "two colleagues", "the children", "my aunt"),
}
