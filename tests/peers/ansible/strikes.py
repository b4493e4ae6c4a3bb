"""Faults of a machine that no command on its host brings about, and what goes on while there is a fault."""

import base64
import os
import pathlib
import re
import shlex
import subprocess
import time

import steps
from hosts import BRIDGE, NETWORK, Host, Hosts, run
from playbooks import DOMAIN, Platform, TlsClient
from signet import wait_until

ANNA = f"anna@{DOMAIN}"
# A domain that postfix has been told of, and Signet has not.
UNTOLD = "untold.example.org"
QUEUE = "/var/spool/postfix/deferred"
# How large the disk is, in MiB, and how many inodes it has.
DISK, INODES = 16, 64
MEMORY = pathlib.Path("/sys/fs/cgroup/memory/signet-too-much")
# Takes what memory there is but for 6 %, as long as an alert may take; the kernel ends it rather than anything else.
HOARD = """
import time
open('/proc/self/oom_score_adj', 'w').write('1000')
def left():
    sizes = dict(line.split(':') for line in open('/proc/meminfo'))
    return int(sizes['MemAvailable'].split()[0]) / int(sizes['MemTotal'].split()[0])
held, end = [], time.monotonic() + 200
while time.monotonic() < end:
    if left() > 0.06:
        held.append(b'x' * 2**24)
    else:
        time.sleep(1)
"""
HOARDERS: list[subprocess.Popen] = []
# Addresses from which passwords are guessed, and how often from each: fewer times than get it locked out.
GUESSERS, GUESSES = [f"{NETWORK}.{number}" for number in range(201, 221)], 8

# On a host of Cassandra, with what Signet itself has for it.
LOSE = """
import ssl, sys
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster
trust = ssl.create_default_context(cafile='/etc/ssl/platform/authority.crt')
trust.check_hostname = False
password = open('/etc/signet/passwords/cassandra.password').read().strip()
session = Cluster([sys.argv[1]], ssl_context=trust, auth_provider=PlainTextAuthProvider('signet', password)).connect('signet')
session.execute(sys.argv[2], timeout=60)
"""
# Waiting mail says that it came three days ago, which its queue file does in digits of seconds.
AGE = """
import glob, re, sys, time
young = time.time() - 86400
def older(found):
    return found[1] + b'%010d ' % (int(found[2]) - 3 * 86400 if int(found[2]) > young else int(found[2]))
for name in glob.glob(sys.argv[1] + '/*/*'):
    try:
        file = open(name, 'r+b')
    except FileNotFoundError:
        continue
    begin = re.sub(rb'(T.)([0-9]{10}) ', older, file.read(400), count=1)
    file.seek(0)
    file.write(begin)
"""
# As HAProxy does, which would see that the node is of no use.
ASK = """
import socket
node = socket.create_connection(('127.0.0.1', 8420), 30)
node.sendall(b'\\r\\n\\r\\n\\0\\r\\nQUIT\\n\\x20\\0\\0\\0')
node.sendall(b'GET /v1/messages HTTP/1.1\\r\\nHost: here\\r\\nAuthorization: Bearer %s\\r\\nConnection: close\\r\\n\\r\\n' % input().encode())
node.recv(100)
"""


def rest(_: Platform, __: Hosts, ___: TlsClient) -> None:
    time.sleep(1)


def send(platform: Platform, hosts: Hosts, _: TlsClient) -> None:
    """Mail, more than a queue has usually, by whichever host."""
    with platform.smtp(hosts.all[0]) as session:
        for _ in range(60):
            session.sendmail(steps.SENDER, [ANNA], steps.message(f"It waits {time.monotonic_ns()}"))


def send_and_read(platform: Platform, hosts: Hosts, client: TlsClient) -> None:
    with platform.smtp(hosts.all[0]) as session:
        for _ in range(10):
            session.sendmail(steps.SENDER, [ANNA], steps.message(f"It waits {time.monotonic_ns()}"))
    client.call("GET", "/v1/messages?limit=10")


def send_much_and_flush(platform: Platform, hosts: Hosts, _: TlsClient) -> None:
    """Tables of some size, which are to be made one."""
    with platform.smtp(hosts.all[0]) as session:
        for _ in range(5):
            text = base64.encodebytes(os.urandom(2_000_000))
            session.sendmail(steps.SENDER, [ANNA], steps.message(f"It is large {time.monotonic_ns()}") + text)
    hosts.all[2].run("nodetool flush signet")


def ask_the_node(_: Platform, hosts: Hosts, client: TlsClient) -> None:
    hosts.all[0].ssh(f"python3 -c {shlex.quote(ASK)}", f"{client.token}\n")


def guess(platform: Platform, hosts: Hosts, _: TlsClient) -> None:
    """Passwords of people whom nobody knows, from many addresses."""
    for source in GUESSERS:
        client = platform.client(hosts.all[0])
        client.source = (source, 0)
        for _ in range(GUESSES):
            client.call("POST", "/v1/session", {"address": f"nobody{time.monotonic_ns()}@{DOMAIN}", "password": "wrong"})


def name_somebody_untold(platform: Platform, hosts: Hosts, _: TlsClient) -> None:
    with platform.smtp(hosts.all[0]) as session:
        session.mail(steps.SENDER)
        for _ in range(5):
            session.rcpt(f"somebody{time.monotonic_ns()}@{UNTOLD}")


def send_and_age(platform: Platform, hosts: Hosts, client: TlsClient) -> None:
    send(platform, hosts, client)
    for host in hosts.all:
        host.run(f"python3 -c {shlex.quote(AGE)} {QUEUE}")


def bring_what_waits(hosts: Hosts) -> None:
    """Returns when no mail waits any more."""

    def all_is_brought() -> bool:
        return all(host.run("postqueue -f; postqueue -j") == "" for host in hosts.all)

    wait_until("no mail waits", all_is_brought, 120)


def lose(host: Host, statement: str) -> None:
    """What a statement to Cassandra takes away."""
    host.run(f"python3 - {host.address} {shlex.quote(statement)}", LOSE)


def tell_postfix_of_a_domain(host: Host) -> None:
    """One that Signet does not have."""
    domains = re.sub(r"\s+", " ", host.run("postconf -h virtual_mailbox_domains")).strip()
    host.run(f"cp /etc/postfix/main.cf /var/tmp; postconf 'virtual_mailbox_domains = {domains} {UNTOLD}'; postfix reload")


def fill_a_disk(host: Host) -> None:
    """One that it is given, on which neither an octet nor a file has place any more."""
    image = host.home / "disk"
    run("truncate", f"--size={DISK}M", image)
    run("mkfs.ext4", "-q", "-N", INODES, image)
    device = run("losetup", "--find", "--show", image).strip()
    major, minor = (int(part, 16) for part in run("stat", "--format=%t %T", device).split())
    inside(host, f"mknod /srv/device b {major} {minor}; mkdir -p /srv/disk; mount /srv/device /srv/disk; rm /srv/device")
    # It goes with its mount.
    run("losetup", "--detach", device)
    host.run(f"cd /srv/disk; for each in $(seq {INODES}); do : >$each; done 2>/dev/null; cat /dev/zero >1 2>/dev/null; true")


def take_the_disk_away(host: Host) -> None:
    inside(host, "umount /srv/disk")


def inside(host: Host, script: str) -> None:
    """Runs it among the host's file systems, with this machine's rights."""
    (init, *_) = pathlib.Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children").read_text().split()
    run("nsenter", f"--target={init}", "--mount", "sh", "-ec", script)


def take_most_memory(_: Host) -> None:
    """Of all that the machine has, which its hosts share."""
    HOARDERS.append(subprocess.Popen(["python3", "-c", HOARD]))


def give_memory_back(_: Host) -> None:
    while HOARDERS:
        HOARDERS[-1].kill()
        HOARDERS.pop().wait()


def take_too_much_memory(_: Host) -> None:
    """More than a process may: the kernel ends it."""
    MEMORY.mkdir(exist_ok=True)
    (MEMORY / "memory.limit_in_bytes").write_text("20000000")
    ended = subprocess.run(["sh", "-c", f"echo $$ >{MEMORY}/cgroup.procs; exec python3 -c 'bytearray(200_000_000)'"], capture_output=True)
    MEMORY.rmdir()
    assert ended.returncode == -9, ended.returncode


def have_guessers(_: Host) -> None:
    for address in GUESSERS:
        run("ip", "address", "add", f"{address}/24", "dev", BRIDGE)


def have_no_guessers(_: Host) -> None:
    for address in GUESSERS:
        run("ip", "address", "delete", f"{address}/24", "dev", BRIDGE)
