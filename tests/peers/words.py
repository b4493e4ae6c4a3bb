"""Words that occur nowhere else, put into every place of a message and of the calls on it, and looked for in files."""

import base64
import os
import pathlib
import random
import string
import subprocess
import tempfile
import urllib.parse

from lmtp import Lmtp
from signet import Story, Workplace

dice = random.SystemRandom()


def word() -> str:
    """A word of 14 letters that nothing else contains."""
    return "qz" + "".join(dice.choice(string.ascii_lowercase) for _ in range(12))


class Words:
    """One canary word for each place."""

    PLACES = (
        "subject body html header file_name attachment_text sender sender_domain recipient recipient_domain display_name "
        "message_id tag keyword mailbox query bad_query unknown_recipient failed_login verified"
    ).split()

    def __init__(self):
        for place in self.PLACES:
            setattr(self, place, word())

    def all(self) -> dict[str, str]:
        return {place: getattr(self, place) for place in self.PLACES}


def forms(text: str) -> list[tuple[str, bytes, bool]]:
    """How `text` may stand in a file: the name of the form, its bytes, and whether case is ignored."""
    plain = text.encode()
    found = [
        ("plain", plain, True),
        ("backwards", plain[::-1], True),
        ("UTF-16LE", text.encode("utf-16-le"), True),
        ("UTF-16BE", text.encode("utf-16-be"), True),
        ("hexadecimal", plain.hex().encode(), True),
    ]
    for shift in range(3):
        # The letters of base64 that depend on the word alone, wherever it starts in the text around it.
        coded = base64.b64encode(b"\0" * shift + plain)
        found.append((f"base64 at {shift}", coded[(4 if shift else 0) : len(coded) - 4], False))
    return found


def readable(directory: pathlib.Path, words: dict[str, str]) -> list[str]:
    """Where any of the words can be read under `directory`, by file, place and form."""
    known = {}
    for place, text in words.items():
        for name, form, fold in forms(text):
            known[fold, form.lower() if fold else form] = (place, name)
    seen = []
    for path in sorted(directory.rglob("*")):
        where = str(path.relative_to(directory))
        seen += [f"the {place} word in the name {where}" for place, text in words.items() if text in where.lower()]
    for fold in (True, False):
        wanted = b"\n".join(form for folded, form in known if folded == fold)
        for path, found in matches(directory, wanted, fold):
            place, name = known[fold, found.lower() if fold else found]
            seen.append(f"the {place} word, {name}, in {path.relative_to(directory)}")
    return seen


def matches(directory: pathlib.Path, wanted: bytes, fold: bool):
    """Each file that holds one of these lines, and what stands there. Some servers write gigabytes: this is grep's work."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(wanted)
        file.flush()
        # Files of a running server come and go.
        options = ["--recursive", "--text", "--only-matching", "--fixed-strings", "--null", "--no-messages", f"--file={file.name}"]
        done = subprocess.run(
            ["grep", *options, *(["--ignore-case"] if fold else []), directory],
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=600,
        )
    for line in dict.fromkeys(done.stdout.split(b"\n")):
        if line:
            path, _, found = line.partition(b"\0")
            yield pathlib.Path(os.fsdecode(path)), found


def compose(words: Words) -> bytes:
    named = base64.b64encode(f"Zoë {words.display_name}".encode()).decode()
    text = base64.b64encode(f"an attached text with {words.attachment_text} in it\n".encode()).decode()
    lines = f"""\
From: =?utf-8?B?{named}?= <{words.sender}@{words.sender_domain}.example>
To: <{words.recipient}@{words.recipient_domain}.example>
Subject: about {words.subject} today
Message-ID: <{words.message_id}@{words.sender_domain}.example>
Date: Sat, 21 Nov 2026 08:00:00 +0100
X-Note: {words.header}
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b"

--b
Content-Type: multipart/alternative; boundary="a"

--a
Content-Type: text/plain; charset=utf-8

The body says {words.body} once.
--a
Content-Type: text/html; charset=utf-8

<p>The body says {words.body} once, and <b>{words.html}</b> here.</p>
--a--
--b
Content-Type: text/plain; charset=utf-8
Content-Disposition: attachment; filename="{words.file_name}.txt"
Content-Transfer-Encoding: base64

{text}
--b--
"""
    return lines.replace("\n", "\r\n").encode()


def put_and_find(story: Story, signet, words: Words) -> None:
    """Puts every word in its place and finds it again; `signet` is one process or a platform of several."""
    domain = f"{words.recipient_domain}.example"
    address = f"{words.recipient}@{domain}"
    tagged = f"{words.recipient}+{words.tag}@{domain}"
    with story.step("a message with a word in every place is taken"):
        signet.add_domain(domain)
        signet.create_account(address)
        session = Lmtp(signet.lmtp_port)
        session.command(f"VRFY {words.verified}")
        replies = session.deliver(
            f"{words.sender}@{words.sender_domain}.example", [tagged, f"{words.unknown_recipient}@{domain}"], compose(words)
        )
        session.quit()
        assert replies[tagged].code == 250, replies
        assert replies[f"{words.unknown_recipient}@{domain}"].code == 550, replies
    client = signet.client(address)
    head = client.wait_for_subject(f"about {words.subject} today")
    path = f"/v1/messages/{head['id']}"
    with story.step("its keyword, its mailbox and its parts can be set and read"):
        mailbox = client.ask("POST", "/v1/mailboxes", 201, {"name": f"Box {words.mailbox}"}).json()
        client.ask("PATCH", path, 200, {"keywords": {words.keyword: True}, "mailboxIds": {mailbox["id"]: True}})
        assert [h["id"] for h in client.heads(keyword=words.keyword)] == [head["id"]]
        assert f"Box {words.mailbox}" in [m["name"] for m in client.get("/v1/mailboxes")["items"]]
        message = client.message(head["id"])
        assert message["deliveredTo"] == tagged and words.body in message["textBody"], "the message is not as it was sent"
        assert [a["name"] for a in message["attachments"]] == [f"{words.file_name}.txt"], message["attachments"]
        part = client.part(head["id"], message["attachments"][0]["partId"])
        assert words.attachment_text.encode() in part
    queries = {
        "the subject": words.subject,
        "the subject by its field": f"subject:{words.subject}",
        "the body": f"body:{words.body}",
        "a phrase of the body": f'"body says {words.body}"',
        "the attachment's name": f"filename:{words.file_name}",
        "the attached text": words.attachment_text,
        "the sender's address": f"from:{words.sender}@{words.sender_domain}.example",
        "the sender's domain": f"from:{words.sender_domain}",
        "the recipient's address": f"to:{words.recipient}@{words.recipient_domain}.example",
        "the display name": f"from:{words.display_name}",
        "a prefix of the display name": f"from:{words.display_name[:8]}*",
        "the keyword": f"keyword:{words.keyword}",
        "the keyword and the subject": f"keyword:{words.keyword} {words.subject}",
        "the mailbox": f"in:{mailbox['id']} {words.subject}",
    }
    for place, query in queries.items():
        with story.step(f"found by {place}"):
            hits = client.wait_until_indexed(query, 1)
            assert hits[0]["id"] == head["id"]
    with story.step("what is refused or finds nothing is answered, and not remembered"):
        assert client.found(words.query) == []
        bad = urllib.parse.quote(f'{words.bad_query} AND ( "')
        client.ask("GET", f"/v1/search?q={bad}", 422)
        for path in (f"/v1/messages/{words.query}", f"/v1/messages?mailbox={words.bad_query}", f"/{words.bad_query}"):
            status = client.call("GET", path).status
            assert status in (404, 422), (path.partition("?")[0], status)
        client.ask("POST", "/v1/session", 401, {"address": f"{words.failed_login}@{domain}", "password": words.failed_login})
    with story.step("the metrics name nobody"):
        metrics = signet.metrics().lower()
        named = [place for place, text in words.all().items() if text.encode() in metrics]
        assert metrics and not named, named


def scan(story: Story, directory: pathlib.Path, words: dict[str, str], when: str) -> None:
    seen = readable(directory, words)
    story.check(f"{when}, none of {len(words)} words can be read in any file", not seen, "; ".join(seen[:20]))


def the_scan_can_fail(story: Story, place: Workplace) -> None:
    control = place / "control"
    control.mkdir()
    planted = word()
    kinds = forms(planted)
    for number, (_, form, fold) in enumerate(kinds):
        (control / str(number)).write_bytes(b"\x00before" + (form.upper() if fold else form) + b"after\xff")
    wrapped = [base64.b64encode(b"x" * shift + planted.encode() + b" and more") for shift in range(3)]
    (control / "wrapped").write_bytes(b"\n".join(wrapped))
    seen = readable(control, {"planted": planted})
    complete = all(any(f", {name}, in {number}" in line for line in seen) for number, (name, _, _) in enumerate(kinds))
    complete &= sum(line.endswith("in wrapped") for line in seen) == 3
    story.check("the scan finds a planted word in each of its forms", complete, seen)
