"""Debian 12 hosts of the test's own: systemd-nspawn boots each in a network namespace. A bridge joins them with this machine,
from which they get Debian's packages, and they reach nothing else. Needs root, debootstrap, systemd-container and nginx."""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import signal
import subprocess

from signet import wait_until

# What is kept from run to run: the system that every host begins with, and the packages that hosts have asked for.
CACHE = pathlib.Path(os.environ.get("SIGNET_HOSTS", "/var/cache/signet-hosts"))
NETWORK = "10.97.0"
HERE = f"{NETWORK}.1"
BRIDGE = "signet-hosts"
PLATFORM = "mail.example.org"
PACKAGES_PORT = 3142
INOTIFY = pathlib.Path("/proc/sys/fs/inotify/max_user_instances")
# What Debian's installer puts on a host beside the base: enough for ssh and Ansible.
INCLUDED = "systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,iproute2,ca-certificates,procps"


def run(*command, **options) -> str:
    """What it prints; AssertionError if it fails."""
    done = subprocess.run([str(each) for each in command], text=True, capture_output=True, stdin=subprocess.DEVNULL, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command[:4]))} … ended with {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


def sources() -> dict[str, str]:
    """Where this machine gets Debian's packages, by the last part of the address: debian, debian-security."""
    text = "".join(file.read_text() for file in pathlib.Path("/etc/apt").glob("sources.list*/*") if file.is_file())
    plain = pathlib.Path("/etc/apt/sources.list")
    text += plain.read_text() if plain.is_file() else ""
    found = re.findall(r"(?<!# )(https?://\S+/(debian(?:-security)?))/?\s", text)
    addresses = {name: address for address, name in found}
    assert {"debian", "debian-security"} <= addresses.keys(), "this machine's sources name no Debian"
    return addresses


def control_groups() -> list[pathlib.Path]:
    """The roots of the hierarchies in which systemd keeps its services apart."""
    root = pathlib.Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return [root]
    return [root / name for name in ("systemd", "unified", "pids") if (root / name / "cgroup.procs").exists()]


class Host:
    """One of them, by its name and address."""

    def __init__(self, hosts: "Hosts", name: str, number: int):
        self.hosts, self.name, self.address = hosts, name, f"{NETWORK}.{10 + number}"
        # This machine's end of its line.
        self.end = f"sig-{number}"
        self.home = hosts.home / name
        self.root = self.home / "root"
        self.namespace = f"signet-{name}"
        self.process = None

    def make(self) -> None:
        """Its file system, on top of the one that all share, and its network."""
        for directory in ("root", "above", "work"):
            (self.home / directory).mkdir(parents=True)
        layers = f"lowerdir={self.hosts.base},upperdir={self.home / 'above'},workdir={self.home / 'work'}"
        run("mount", "-t", "overlay", "overlay", "-o", layers, self.root)
        (self.root / "etc/hostname").write_text(self.name + "\n")
        # As the installer writes it.
        local = f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n::1 localhost ip6-localhost ip6-loopback\n"
        # And as the DNS would say where the platform is.
        (self.root / "etc/hosts").write_text(f"{local}{self.hosts.platform} {PLATFORM}\n")
        # Nobody answers there, and says so at once.
        (self.root / "etc/resolv.conf").write_text(f"nameserver {HERE}\n")
        (self.root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        (self.root / "root/.ssh/authorized_keys").write_text((self.hosts.home / "key.pub").read_text())
        for key in (self.root / "etc/ssh").glob("ssh_host_*"):
            key.unlink()
        run("chroot", self.root, "ssh-keygen", "-A")
        suites = {"debian": ["bookworm", "bookworm-updates"], "debian-security": ["bookworm-security"]}
        lines = [f"deb http://{HERE}:{PACKAGES_PORT}/{name} {suite} main\n" for name in suites for suite in suites[name]]
        (self.root / "etc/apt/sources.list").write_text("".join(lines))
        # One of before may outlive its network for a while.
        subprocess.run(["ip", "link", "delete", self.end], capture_output=True)
        run("ip", "netns", "add", self.namespace)
        run("ip", "link", "add", self.end, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        run("ip", "link", "set", self.end, "master", BRIDGE, "up")

    def start(self) -> None:
        """Returns when it can be logged into."""
        for words in (f"addr add {self.address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            run("ip", "-n", self.namespace, *words.split())
        command = ["systemd-nspawn", f"--directory={self.root}", "--boot", "--register=no", "--keep-unit", "--resolv-conf=off"]
        command += ["--capability=CAP_NET_ADMIN", f"--network-namespace-path=/run/netns/{self.namespace}", f"--hostname={self.name}"]
        groups = [root / self.namespace for root in control_groups()]
        for group in groups:
            group.mkdir(exist_ok=True)
        # Each has control groups of its own, or one would take the other's services for its own.
        enter = "".join(f"echo $$ >{group}/cgroup.procs && " for group in groups)
        command = ["sh", "-c", f'{enter}exec "$@"', "sh", *command]
        with open(self.home / "console", "ab") as console:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True)
        wait_until(f"{self.name} can be logged into", lambda: self.ssh("true").returncode == 0, 60)

    def ssh(self, command: str, stdin: str = "") -> subprocess.CompletedProcess:
        """Runs a command on it, as root."""
        line = ["ssh", "-F", self.hosts.home / "ssh_config", f"root@{self.address}", command]
        return subprocess.run(line, text=True, capture_output=True, input=stdin, timeout=300)

    def run(self, command: str, stdin: str = "") -> str:
        """What a command on it prints; AssertionError if it fails."""
        done = self.ssh(command, stdin)
        assert done.returncode == 0, f"{self.name}: {command[:80]} ended with {done.returncode}: {done.stderr[-2000:]}"
        return done.stdout

    def stop(self) -> None:
        """Cuts its power."""
        if self.process is None:
            return
        process, self.process = self.process, None
        # nspawn's first child is the host's init: with it goes all that runs there.
        for child in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # With its kernel all of its addresses are gone.
        for words in ("link set eth0 down", "addr flush dev eth0"):
            run("ip", "-n", self.namespace, *words.split())

    def replace(self) -> None:
        """Another machine with the same name and address, on which nothing is."""
        self.remove()
        shutil.rmtree(self.home)
        (self.hosts.home / "known_hosts").unlink(missing_ok=True)
        self.install()

    def install(self) -> None:
        self.make()
        self.start()
        # As the installer leaves it.
        self.run("apt-get update")

    def remove(self) -> None:
        self.stop()
        subprocess.run(["ip", "netns", "delete", self.namespace], capture_output=True)
        subprocess.run(["umount", "--lazy", self.root], capture_output=True)
        for root in control_groups():
            for group, _, _ in os.walk(root / self.namespace, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(group)


class Hosts:
    """All of them. They are gone afterwards, whatever happened."""

    def __init__(self, home: pathlib.Path):
        home.mkdir()
        self.home, self.base, self.all = home, CACHE / "debian-12", []
        self.packages = None
        # By which address the world knows the platform.
        self.platform = f"{NETWORK}.11"
        CACHE.mkdir(parents=True, exist_ok=True)
        # One at a time: they have their addresses and the bridge to themselves.
        self.lock = open(CACHE / "lock", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def __enter__(self) -> "Hosts":
        self.clear()
        if not self.base.exists():
            fresh = CACHE / "debian-12.new"
            shutil.rmtree(fresh, ignore_errors=True)
            run("debootstrap", "--variant=minbase", f"--include={INCLUDED}", "bookworm", fresh, sources()["debian"])
            fresh.rename(self.base)
        # Each host's systemd and journal watch many files, all as one user.
        self.watches = INOTIFY.read_text()
        INOTIFY.write_text(str(max(int(self.watches), 8192)))
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{HERE}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.home / "key")
        self.use_port(22)
        self.serve_packages()
        return self

    def __exit__(self, *_) -> None:
        for host in self.all:
            host.remove()
        if self.packages:
            self.packages.terminate()
            self.packages.wait()
        self.clear()
        INOTIFY.write_text(self.watches)

    def clear(self) -> None:
        """What a run that was killed left behind."""
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)
        # A network that is gone may leave its end of the line here for a while.
        for name in re.findall(r"\bsig-\w+", run("ip", "-oneline", "link", "show", "type", "veth")):
            subprocess.run(["ip", "link", "delete", name], capture_output=True)
        for name in re.findall(r"^signet-\S+", run("ip", "netns", "list"), re.MULTILINE):
            run("ip", "netns", "delete", name)

    def use_port(self, port: int) -> None:
        """Says where ssh reaches them from now on."""
        (self.home / "ssh_config").write_text(
            f"IdentityFile {self.home}/key\nUserKnownHostsFile {self.home}/known_hosts\nStrictHostKeyChecking accept-new\n"
            f"ConnectTimeout 5\nServerAliveInterval 5\nLogLevel ERROR\nPort {port}\n"
        )

    def serve_packages(self) -> None:
        """Debian's packages, as this machine gets them, for the hosts."""
        here = self.home / "packages"
        here.mkdir()
        kept = CACHE / "packages"
        # Some mirrors answer nothing older than HTTP/1.1.
        locations = "".join(
            f"location /{name}/ {{ proxy_pass {address}/; proxy_http_version 1.1; proxy_ssl_server_name on; }}\n"
            for name, address in sources().items()
        )
        paths = "".join(f"{kind}_temp_path {here}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (here / "nginx.conf").write_text(
            f"user root;\ndaemon off;\npid {here}/pid;\nerror_log {here}/log;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}"
            f"proxy_cache_path {kept} levels=1:2 keys_zone=packages:10m max_size=8g inactive=60d use_temp_path=off;\n"
            f"proxy_cache packages;\nproxy_cache_lock on;\nproxy_cache_lock_timeout 10m;\n"
            # What a package's name stands for never changes; the lists do.
            f"proxy_cache_valid 200 60d;\n"
            f"map $uri $changes {{ ~\\.deb$ 0; default 1; }}\nproxy_no_cache $changes;\nproxy_cache_bypass $changes;\n"
            f"server {{ listen {HERE}:{PACKAGES_PORT};\nlocation /vendors/ {{ alias {self.home}/vendors/; }}\n{locations}}}\n}}\n"
        )
        with open(here / "output", "ab") as output:
            command = ["nginx", "-c", here / "nginx.conf", "-e", here / "log"]
            self.packages = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    @contextlib.contextmanager
    def listen(self):
        """A function that says what has crossed the bridge meanwhile between the hosts."""
        file = self.home / "crossed"
        between = f"src net {NETWORK}.0/24 and dst net {NETWORK}.0/24 and not host {HERE}"
        command = ["tcpdump", "-i", BRIDGE, "-U", "-s", "0", "-w", file, between]
        with open(self.home / "tcpdump", "wb") as said:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            wait_until("it listens", lambda: file.exists() and file.stat().st_size >= 24, 10)
            yield file.read_bytes
        finally:
            process.terminate()
            process.wait()

    def add(self, name: str) -> Host:
        host = Host(self, name, len(self.all) + 1)
        self.all.append(host)
        host.install()
        return host
