"""Part IV, BERT: masked language modelling, and an encoder that conditions on both directions at once."""
