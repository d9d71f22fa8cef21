"""Figures that tests measure: printed at the end of a run, so that a bar that was met is seen with by how much."""

FIGURES: list[tuple[str, str, str]] = []


def record(what: str, measured: str, bar: str) -> None:
    """Keep one figure with its bar."""
    FIGURES.append((what, measured, bar))


def table() -> str:
    """All figures of this run, as lines."""
    return "\n".join(f"  {what:<62} {measured:>16}   bar {bar}" for what, measured, bar in FIGURES)
