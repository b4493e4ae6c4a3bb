"""Runs the playbooks of ansible/ from a copy of one of its inventories, and calls what they made."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import smtplib
import ssl
import subprocess
from typing import NamedTuple

from hosts import Host, Hosts
from signet import ROOT, Client

DOMAIN = "example.org"
# How a command of Signet is called on one host by itself, and on a host of a cluster.
ALONE = "runuser -u signet -- signet --config /etc/signet/signet.toml"
SIGNET = "runuser -u signet -- env SIGNET_DATA=/var/lib/signet/lmtp signet --config /etc/signet/signet.toml"
# The longest one makes nineteen hosts.
PLAY_SECONDS = 5400


class Run:
    """What a run of a playbook said."""

    def __init__(self, done: subprocess.CompletedProcess):
        self.code, self.output = done.returncode, done.stdout + done.stderr
        recap = self.output.rpartition("PLAY RECAP")[2]
        counts = re.findall(r"^(\S+)\s*: .*?changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", recap, re.MULTILINE)
        self.changed = {name: int(changed) for name, changed, _, _ in counts}

    def must_pass(self) -> "Run":
        assert self.code == 0, f"it ended with {self.code}: {self.failures()[-4000:] or self.output[-4000:]}"
        return self

    def failures(self) -> str:
        """What the tasks said that failed."""
        tasks = re.split(r"^(?=TASK |RUNNING HANDLER |PLAY )", self.output, flags=re.MULTILINE)
        return "".join(task for task in tasks if re.search(r"^(failed|fatal): ", task, re.MULTILINE))

    def refuses(self, variable: str) -> bool:
        """Whether it ended before the first task that does something, and named the variable."""
        said = re.findall(r"^(?:failed|fatal): .*?(?=^ok|^failed|^TASK|^PLAY|\Z)", self.output, re.MULTILINE | re.DOTALL)
        done = re.findall(r"^TASK \[(?!Gathering Facts|settings : )", self.output, re.MULTILINE)
        return self.code != 0 and not done and variable in "".join(said)

    def changes(self) -> list[str]:
        """The tasks that changed something."""
        tasks = re.findall(r"^TASK \[(.*?)\] \**\n((?:(?!TASK |PLAY |RUNNING ).*\n)*)", self.output, re.MULTILINE)
        return [name for name, said in tasks if re.search(r"^changed: ", said, re.MULTILINE)]


class Platform:
    """An inventory with its secrets, and the hosts that it names."""

    def __init__(self, home: pathlib.Path, inventory: str, package: pathlib.Path):
        self.home, self.package = home, package
        shutil.copytree(ROOT / "ansible/inventories" / inventory, home)
        # Where operations has it put.
        self.settings: dict = {"signet_package": str(shutil.copy(package, home))}
        # Of single hosts, by name.
        self.settings_of: dict[str, dict] = {}
        self.environment = os.environ | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible/ansible.cfg"),
            "ANSIBLE_VAULT_PASSWORD_FILE": str(home / ".vault-password"),
            "ANSIBLE_NOCOLOR": "1",
        }
        self.command(ROOT / "ansible/secrets", home)

    def command(self, *command, must: bool = True) -> subprocess.CompletedProcess:
        line = [str(each) for each in command]
        done = subprocess.run(line, env=self.environment, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=PLAY_SECONDS)
        assert not must or done.returncode == 0, f"{' '.join(line[:2])} … ended with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}"
        return done

    def reach(self, hosts: Hosts) -> None:
        """Says in the inventory how the hosts are reached."""
        for host in hosts.all:
            (self.home / "host_vars").mkdir(exist_ok=True)
            (self.home / "host_vars" / f"{host.name}.json").write_text(json.dumps({"ansible_host": host.address} | self.settings_of.get(host.name, {})))
        self.settings |= {"ansible_user": "root", "ansible_ssh_common_args": f"-F {hosts.home}/ssh_config"}
        self.set()

    def rename_hosts(self, before: str, after: str) -> None:
        """Says in the inventory what hosts there are from now on."""
        file = self.home / "hosts.yml"
        text = file.read_text()
        assert before in text, before
        file.write_text(text.replace(before, after))

    def set(self, **variables) -> None:
        """Says in the inventory what these variables are from now on."""
        self.settings |= variables
        (self.home / "group_vars/all/test.json").write_text(json.dumps(self.settings))

    @contextlib.contextmanager
    def without(self, variable: str):
        """The inventory without this variable."""
        texts = {file: file.read_text() for file in (self.home / "group_vars/all").iterdir()}
        for file, text in texts.items():
            if file.suffix == ".json":
                file.write_text(json.dumps({name: value for name, value in json.loads(text).items() if name != variable}))
            elif not text.startswith("$ANSIBLE_VAULT"):
                file.write_text(re.sub(rf"^{variable}:.*\n([ -].*\n)*", "", text, flags=re.MULTILINE))
            elif variable in self.command("ansible-vault", "view", file).stdout:
                file.unlink()
        try:
            yield
        finally:
            for file, text in texts.items():
                file.write_text(text)

    def play(self, playbook: str, *arguments: str, **variables) -> Run:
        line = ["ansible-playbook", "--inventory", self.home, *arguments, ROOT / "ansible" / playbook]
        if variables:
            line += ["--extra-vars", json.dumps(variables)]
        return Run(self.command(*line, must=False))

    def trust(self) -> ssl.SSLContext:
        """Trusts the platform's authority alone."""
        return ssl.create_default_context(cafile=str(self.home / ".authority/authority.crt"))

    def smtp(self, host: "Host | Address") -> smtplib.SMTP:
        """A session with the platform's SMTP port, over TLS."""
        session = Session(host.address, 25, local_hostname="outside.example.net", timeout=60)
        session.starttls(context=self.trust())
        session.ehlo()
        return session

    def client(self, host: "Host | Address") -> "TlsClient":
        return TlsClient(host.address, self.trust())


class Address(NamedTuple):
    """One that no host has for itself."""

    address: str


class Session(smtplib.SMTP):
    """Whichever postfix answers has a certificate with the name that the world knows."""

    def starttls(self, *, context: ssl.SSLContext):
        self._host = f"mail.{DOMAIN}"
        return super().starttls(context=context)


class TlsClient(Client):
    """The API at an address, over TLS."""

    def __init__(self, address: str, trust: ssl.SSLContext, port: int = 443):
        super().__init__(port)
        self.address, self.trust = address, trust
        # Whence it calls: from wherever this machine would, else.
        self.source: tuple[str, int] | None = None

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPSConnection(self.address, self.port, timeout=60, context=self.trust, source_address=self.source)
