"""Steps that several stories take."""

import concurrent.futures
import contextlib
import hashlib
import selectors
import socket
import time

from hosts import Host, Hosts
from playbooks import DOMAIN, Address, Platform, TlsClient
from signet import Client, Story, wait_until

ANNA, CLARA, UNKNOWN, ELSEWHERE = f"anna@{DOMAIN}", f"clara@{DOMAIN}", f"nobody@{DOMAIN}", "boris@example.net"
SENDER = "boris@example.net"
# Ports that are tried at once, and how long they have, in seconds: what is dropped never answers.
SCANNED_AT_ONCE, SCAN_TIME = 800, 0.4
RUNS_AT_ONCE = 3


def message(subject: str) -> bytes:
    lines = [f"From: Boris <{SENDER}>", f"To: Anna <{ANNA}>", f"Subject: {subject}", f"Message-ID: <{subject.replace(' ', '-')}@example.net>"]
    return "\r\n".join([*lines, "Date: Mon, 23 Nov 2026 10:00:00 +0000", "", "Hello Anna.", ""]).encode()


def open_ports(host: Host) -> list[int]:
    """The TCP ports of a host at which this machine is answered."""
    found = []
    for first in range(1, 65536, SCANNED_AT_ONCE):
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as sockets:
            for port in range(first, min(first + SCANNED_AT_ONCE, 65536)):
                each = sockets.enter_context(socket.socket())
                each.setblocking(False)
                each.connect_ex((host.address, port))
                selector.register(each, selectors.EVENT_WRITE, port)
            deadline = time.monotonic() + SCAN_TIME
            while (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                        found.append(key.data)
                    selector.unregister(key.fileobj)
    return sorted(found)


def the_platform_is_made(story: Story, platform: Platform, hosts: Hosts) -> None:
    with story.step("a check of fresh hosts passes, and changes nothing on them"):
        platform.play("site.yml", "--check", "--diff").must_pass()
        assert all(host.ssh("test -e /etc/signet").returncode != 0 for host in hosts.all)
    with story.step("one ansible-playbook command makes a platform of them"):
        platform.play("site.yml").must_pass()
    with story.step("a second one changes nothing, and a check finds nothing to change"):
        for arguments in ([], ["--check", "--diff"]):
            run = platform.play("site.yml", *arguments).must_pass()
            assert {host.name for host in hosts.all} <= run.changed.keys() and set(run.changed.values()) == {0}, run.changes()


def verdicts_are_ours(story: Story, platform: Platform, host: Host | Address, client: TlsClient) -> None:
    with story.step("a verdict that the sender wrote himself is taken out, and ours put in"):
        own = b"X-Spam-Status: No, forged\r\nAuthentication-Results: mail.example.org; dkim=pass\r\n"
        with platform.smtp(host) as session:
            assert session.sendmail(SENDER, [ANNA], own + message("Forged verdict")) == {}
        raw = client.raw(client.wait_for_subject("Forged verdict")["id"]).lower()
        assert raw.count(b"x-spam-status:") == 1 and b"forged\r\n" not in raw.partition(b"subject:")[0], raw
        assert b"dkim=pass" not in raw, raw
    with story.step("what stands in an attached message stays as it is"):
        attached = b"\r\n".join([b"--part", b"Content-Type: message/rfc822", b"", own + message("Attached"), b"--part--", b""])
        head = message("With a message").partition(b"\r\n\r\n")[0] + b"\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=part\r\n\r\n"
        with platform.smtp(host) as session:
            assert session.sendmail(SENDER, [ANNA], head + attached) == {}
        raw = client.raw(client.wait_for_subject("With a message")["id"])
        assert raw.endswith(b"\r\n\r\n" + attached), raw


def the_host_is_closed(story: Story, host: Host) -> None:
    with story.step("from outside only ssh, SMTP and the API are reached"):
        assert open_ports(host) == [22, 25, 443], open_ports(host)
    with story.step("systemd finds little that Signet's units could do (2.0 at most)"):
        for unit in ("signet-all", "signet-lmtp", "signet-workers", "signet-api"):
            verdict = host.run(f"systemd-analyze security --no-pager {unit} | tail -n 1")
            level = float(verdict.rpartition(": ")[2].split()[0])
            assert level <= 2.0, verdict


def they_are_refused(story: Story, platform: Platform, wrong: list[tuple]) -> None:
    """Variables with what they cannot be, and the others that make it so; a few runs at a time."""
    with concurrent.futures.ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
        runs = [pool.submit(platform.play, "site.yml", **{name: value}, **dict(*others)) for name, value, *others in wrong]
        for (name, value, *_), each in zip(wrong, runs):
            run = each.result()
            story.check(f"{name} = {value!r} is refused before anything is done, and named", run.refuses(name), run.output[-600:])


def everything(platform: Platform, host: Host) -> dict[str, str]:
    """By id, digests of all messages of an account."""
    client = platform.client(host).log_in(ANNA)
    return {head["id"]: hashlib.sha256(read_at_last(client, head["id"])).hexdigest() for head in client.heads()}


def read_at_last(client: Client, message_id: str) -> bytes:
    """One address may call so often and no oftener: HAProxy has it wait."""
    answers = []

    def answered() -> bool:
        answers.append(client.call("GET", f"/v1/messages/{message_id}/raw"))
        return answers[-1].status != 429

    wait_until("the next call is let in", answered, 60)
    assert answers[-1].status == 200, answers[-1].status
    return answers[-1].body
