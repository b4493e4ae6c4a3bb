"""A container without an engine: one service of docker-compose.yml in namespaces of its own, on this machine's Debian.

What the file says of it holds as an engine would make it hold: the user, the capabilities, no new privileges, the read-only
file system, volumes, tmpfs with their options, networks and addresses, the environment, the command, the health command. What
does not: limits of memory and of processes, which need control groups. Needs root, and overlayfs, bridges and namespaces.
"""

import contextlib
import os
import pathlib
import shlex
import signal
import subprocess

from document import ROOT
from signet import wait_until

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Those that an engine grants.
CAPABILITIES = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write setfcap"
).split()


def run(*command, **options) -> subprocess.CompletedProcess:
    """A program to its good end; what it said is raised otherwise."""
    done = subprocess.run(command, text=True, capture_output=True, timeout=120, stdin=subprocess.DEVNULL, **options)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}"
    return done


def status_of(process: int) -> dict[str, str]:
    lines = pathlib.Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


class Image:
    """What the file system has beside this machine's own: a layer, and what its maker says of its start."""

    def __init__(self, layers: pathlib.Path, name: str):
        self.name = name
        self.layer = layers / name / "layer"
        self.environment = {"PATH": PATH}
        self.entrypoint = []
        self.command = []
        self.directory = "/"
        for each in ("layer", "work", "root"):
            (layers / name / each).mkdir(parents=True)

    def change(self, script: str, environment: dict | None = None) -> None:
        """Runs a script as root in it."""
        root, work = self.layer.parent / "root", self.layer.parent / "work"
        run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={self.layer},workdir={work}", root)
        try:
            run("mount", "--rbind", "/dev", root / "dev")
            run("chroot", root, "/bin/bash", "-euc", script, env={"PATH": PATH} | (environment or {}))
        finally:
            run("umount", "--recursive", root)

    def put(self, source: pathlib.Path, target: str, mode: int) -> None:
        path = self.layer / target.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read_bytes())
        path.chmod(mode)


class Network:
    """A bridge; this process is its gateway."""

    def __init__(self, name: str, prefix: str):
        self.name, self.prefix, self.device = name, prefix, f"br-{name}"
        self.given = 100
        run("ip", "link", "add", self.device, "type", "bridge")
        run("ip", "address", "add", f"{prefix}.1/24", "dev", self.device)
        run("ip", "link", "set", self.device, "up")

    def next_address(self) -> str:
        self.given += 1
        return f"{self.prefix}.{self.given}"


class Container:
    """One service."""

    def __init__(self, layers: pathlib.Path, volumes: pathlib.Path, image: Image, service, addresses: dict[str, str], hosts: str):
        self.service, self.image, self.addresses, self.hosts = service, image, addresses, hosts
        self.home = layers / "containers" / service.name
        self.log = self.home / "log"
        self.volumes = volumes
        self.process = None
        for each in ("layer", "work", "root"):
            (self.home / each).mkdir(parents=True)

    def mounts(self) -> list[str]:
        """What is mounted on the root, as commands, from the outside in."""
        found = {}
        for text in self.service.body.get("tmpfs", []):
            target, _, given = text.partition(":")
            options = {"mode": "1777"} | dict(option.partition("=")[::2] for option in given.split(",") if option)
            words = [f"{name}={value}" if value else name for name, value in options.items() if name != "exec"]
            words += ["nosuid", "nodev", "exec" if "exec" in options else "noexec"]
            found[target] = f"mkdir -p $root{target}; mount -t tmpfs -o {','.join(words)} tmpfs $root{target}"
        for mount in self.service.mounts:
            target, source = mount.target, ROOT / mount.source
            if mount.is_volume:
                source = self.volumes / mount.source
                source.mkdir(parents=True, exist_ok=True)
                # An empty volume gets what the image has there, and belongs to whom it belongs there.
                make = (
                    f"mkdir -p $root{target}; if [ -z \"$(ls -A {source})\" ]; then cp -a $root{target}/. {source}/; "
                    f"chown --reference=$root{target} {source}; chmod --reference=$root{target} {source}; fi"
                )
            else:
                make = f"mkdir -p $(dirname $root{target}); [ -d {source} ] && mkdir -p $root{target} || : >$root{target}"
            again = f"; mount -o remount,bind,ro $root{target}" if mount.read_only else ""
            found[target] = f"{make}; mount --bind {source} $root{target}{again}"
        return [found[target] for target in sorted(found)]

    def confinement(self) -> list[str]:
        """What a program is started with."""
        body = self.service.body
        user, _, group = body["user"].partition(":")
        granted = [] if "ALL" in body.get("cap_drop", []) else list(CAPABILITIES)
        granted += [name.lower() for name in body.get("cap_add", [])]
        bounding = ",".join(["-all", *(f"+{name}" for name in granted)])
        command = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", f"--bounding-set={bounding}", "--inh-caps=-all"]
        if "no-new-privileges:true" in body.get("security_opt", []):
            command.append("--no-new-privs")
        return [*command, "--"]

    def environment(self) -> dict[str, str]:
        hostname = self.service.body.get("hostname", self.service.name)
        return {"HOME": "/", "HOSTNAME": hostname} | self.image.environment | self.service.environment

    def start(self, networks: dict[str, Network]) -> None:
        body, root = self.service.body, self.home / "root"
        entrypoint = body.get("entrypoint", self.image.entrypoint)
        command = [*entrypoint, *body.get("command", [] if "entrypoint" in body else self.image.command)]
        lines = [
            f"root={root}",
            f"mount -t overlay overlay -o lowerdir={self.image.layer}:/,upperdir={self.home}/layer,workdir={self.home}/work $root",
            "mount -t proc proc $root/proc",
            "mount -t sysfs -o ro sysfs $root/sys",
            "mount --rbind /dev $root/dev",
            f"printf %s {shlex.quote(self.hosts)} >$root/etc/hosts",
            *self.mounts(),
            "mount -o remount,bind,ro $root" if body.get("read_only") else "",
            f"hostname {shlex.quote(body.get('hostname', self.service.name))}",
            f"ulimit -c {body.get('ulimits', {}).get('core', 'unlimited')}",
            "echo made; read -r _",
            "exec 0</dev/null 1>&2",
            f"exec chroot $root env -i -C {self.image.directory} "
            + shlex.join([*(f"{name}={value}" for name, value in self.environment().items()), *self.confinement(), *command]),
        ]
        self.log.touch()
        # Whoever it runs as may open what is its standard output by name.
        self.log.chmod(0o666)
        spaces = ["--mount", "--net", "--pid", "--uts", "--ipc"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["unshare", *spaces, "--fork", "--kill-child", "--", "bash", "-euc", "\n".join(lines)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout.readline() == b"made\n", f"{self.service.name}: {self.log_tail()}"
        self.connect(networks)
        self.process.stdin.write(b"go\n")
        self.process.stdin.close()

    def connect(self, networks: dict[str, Network]) -> None:
        inside = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", "--"]
        run(*inside, "ip", "link", "set", "lo", "up")
        for number, name in enumerate(self.service.networks):
            outer = f"{name[:4]}{self.process.pid}"
            inner = f"eth{number}"
            run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", str(self.process.pid))
            run("ip", "link", "set", outer, "master", networks[name].device, "up")
            run(*inside, "ip", "address", "add", f"{self.addresses[name]}/24", "dev", inner)
            run(*inside, "ip", "link", "set", inner, "up")

    def first_process(self) -> int:
        return int(pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def run(self, command: list[str], stdin: str = "", seconds: float = 60.0, as_root=False) -> subprocess.CompletedProcess:
        """A command in it, as the user that it runs as, or as one whom only the file system itself keeps from writing."""
        enter = ["nsenter", f"--target={self.first_process()}", "--all", "--root", "--", "env", "-i", "-C", self.image.directory]
        environment = [f"{name}={value}" for name, value in self.environment().items()]
        return subprocess.run(
            [*enter, *environment, *([] if as_root else self.confinement()), *command], input=stdin, text=True, capture_output=True, timeout=seconds
        )

    def wait_until_healthy(self, seconds: float) -> None:
        said = ""

        def healthy() -> bool:
            nonlocal said
            # A pause, and the end at once if it ends: what starts must not be kept from it by who asks.
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"{self.service.name} ended with {self.process.wait(1)}")
            try:
                done = self.run(self.service.health())
            except subprocess.TimeoutExpired:
                said = "nothing in time"
                return False
            said = (done.stderr or done.stdout).strip()[-300:]
            return done.returncode == 0

        try:
            wait_until(f"{self.service.name} is healthy", healthy, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; the health command said {said!r}; its log ends with {self.log_tail()}") from None

    def wait_until_done(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        code = self.process.returncode
        assert code is not None, f"{self.service.name} has not ended within {seconds:g} s: {self.log_tail()}"
        assert code == 0, f"{self.service.name} ended with {code}: {self.log_tail()}"

    def processes(self) -> list[int]:
        """Those of it, by their numbers out here."""
        space = os.readlink(f"/proc/{self.first_process()}/ns/pid")
        found = []
        for each in pathlib.Path("/proc").glob("[0-9]*"):
            # One that has just ended is none.
            with contextlib.suppress(OSError):
                if os.readlink(each / "ns/pid") == space:
                    found.append(int(each.name))
        return found

    def memory(self) -> int:
        """What they hold in memory that no file stands for, in octets."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(OSError):
                total += int(status_of(process).get("RssAnon", "0 kB").split()[0]) << 10
        return total

    def status(self) -> dict[str, str]:
        """What /proc says about its first process."""
        return status_of(self.first_process())

    def stop(self, seconds: float) -> int:
        """SIGTERM to its first process, as an engine does it; what that ended with."""
        os.kill(self.first_process(), signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL to all of it."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def log_tail(self, characters: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-characters:]
