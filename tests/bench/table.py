"""The table: figures beside those they are held against, with what must hold and whether it does."""


def figure(result: dict, path: str):
    for name in path.split("."):
        result = result.get(name, {}) if isinstance(result, dict) else {}
    return result if isinstance(result, (int, float)) else None


def verdict(kind, ours, theirs, floor, aim, below=None) -> tuple[str, str]:
    """The ratio, and whether floor and aim are met; the aim only by less than `below`, too."""
    ratio = ours / theirs if ours is not None and theirs else None
    shown = f"{ratio:.2f}" if ratio is not None else ""
    if kind is None or ours is None:
        return shown, ""
    value = ratio if kind in ("ratio", "share") else ours
    if value is None:
        return shown, ""
    more = kind in ("ratio", "at least")
    meets = lambda bound: value >= bound if more else value <= bound  # noqa: E731
    is_aim = meets(aim) and (below is None or ours < below)
    return shown, "aim" if is_aim else "floor" if meets(floor) else "MISSED"


def show(value) -> str:
    return "" if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def head(ours: str, theirs: str) -> None:
    print(f"{'':46} {ours:>10} {theirs:>10} {'ratio':>7} {'floor':>7} {'aim':>7}  met")


def line(title: str, ours, theirs, kind, floor, aim, below=None) -> str:
    """Prints one row; what of it is met."""
    ratio, met = verdict(kind, ours, theirs, floor, aim, below)
    print(f"{title:46} {show(ours):>10} {show(theirs):>10} {ratio:>7} {floor or '':>7} {aim or '':>7}  {met}")
    return met
