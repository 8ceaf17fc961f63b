"""Tables in Markdown, read back: what tests hold docs, README and table.md against."""


def table_rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, heads included, without the rules between head and body."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not set(line) <= set("|- ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
