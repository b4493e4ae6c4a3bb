"""What is delivered and searched for: a directory of messages, and a file of words in them."""

import os
import pathlib
import random
import subprocess
import sys

from generators import say


def make_corpus(load, place: pathlib.Path, count: int) -> tuple[pathlib.Path, pathlib.Path]:
    """A directory of messages, and a file of words to search for (class, word, messages that have it)."""
    corpus, queries = place / "corpus", place / "corpus.queries.tsv"
    real = pathlib.Path(os.environ.get("SIGNET_MESSAGES", "/nonexistent")) / "spamassassin-easy-ham-1/msgs"
    if load.is_given and real.is_dir():
        subprocess.run(
            [sys.executable, load.folder / "mkcorpus.py", real, corpus, str(count), "1"], check=True, stdout=subprocess.DEVNULL
        )
        say(f"corpus: {count} messages, real ones among them")
        return corpus, queries
    dice = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(dice.choices(letters, k=dice.randint(2, 10))) for _ in range(20000)]
    # A word's frequency falls as its rank grows, as in any language.
    shares = [1 / rank for rank in range(1, len(words) + 1)]
    seen = {}
    corpus.mkdir()
    for number in range(count):
        body = dice.choices(words, shares, k=max(60, int(dice.expovariate(1 / 1300))))
        for word in set(body):
            seen[word] = seen.get(word, 0) + 1
        lines = [" ".join(body[at : at + 11]) for at in range(0, len(body), 11)]
        sender = f"{words[number % 400 + 1000]}@{words[number % 40 + 2000]}.example"
        head = [
            f"From: {words[number % 400 + 1000].title()} <{sender}>",
            "To: someone@bench.example",
            f"Subject: {' '.join(dice.choices(words, shares, k=6))}",
            "Date: Sat, 21 Nov 2026 08:00:00 +0000",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
        ]
        (corpus / f"{number:05}.eml").write_text("\n".join([*head, "", *lines, ""]))

    def some(least: int, most: int, wanted: int) -> list[str]:
        found = sorted(word for word, times in seen.items() if least <= times <= most and len(word) > 4)
        return dice.sample(found, min(wanted, len(found)))

    chosen = [("rare", word) for word in some(1, 10, 20)] + [("medium", word) for word in some(count // 200, count // 50, 20)]
    chosen += [("common", word) for word in some(count * 15 // 100, count * 40 // 100, 10)]
    dice.shuffle(chosen)
    queries.write_text("".join(f"{kind}\t{word}\t{seen[word]}\n" for kind, word in chosen))
    say(f"corpus: {count} messages of synthetic words")
    return corpus, queries
