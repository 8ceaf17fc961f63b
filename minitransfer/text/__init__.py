"""Part I, text into integers: corpora, words, batches."""

WIKITEXT = ("wikitext-2", "wikitext-2-raw", "wikitext-103", "wikitext-103-raw")
CORPORA = ("auto", *WIKITEXT, "imdb", "sample")  # to pretrain on
REVIEWS = ("auto", "imdb", "sample")  # to transfer to
CLASSES = ("negative", "positive")  # of these
