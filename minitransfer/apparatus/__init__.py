"""The apparatus: flags, errors, run directories, progress. Read when first needed."""
