"""Part III, ELMo: character CNN, bidirectional language model, scalar mix."""
