"""A small disk under one server that can be full: a tmpfs, whose size is cut down to what is in it."""

import os
import shutil
import subprocess

from servers import Servers
from signet import wait_until

ROOMY = "2g"
PAGE = os.sysconf("SC_PAGE_SIZE")


class SmallDisk:
    """What the server `name` writes lies on it between `put` and `remove`; the server is restarted by both."""

    def __init__(self, servers: Servers, name: str):
        self.servers, self.name = servers, name
        self.path = servers.home / name
        self.aside = servers.home / f"{name}.aside"

    def put(self) -> None:
        self.servers.run("stop", self.name)
        self.path.rename(self.aside)
        self.path.mkdir(mode=0o700)
        run("mount", "-t", "tmpfs", "-o", f"size={ROOMY},mode=0700", "signet-faults", str(self.path))
        shutil.copytree(self.aside, self.path, symlinks=True, dirs_exist_ok=True)
        self.servers.run("start", self.name)

    def fill(self) -> None:
        """Leaves not a page free. What is written meanwhile makes the cut too deep: then it is tried again."""

        def cut():
            there = os.statvfs(self.path)
            used = (there.f_blocks - there.f_bfree) * there.f_frsize
            done = subprocess.run(["mount", "-o", f"remount,size={used + PAGE}", self.path], capture_output=True, timeout=30)
            return done.returncode == 0

        wait_until(f"the disk of {self.name} is full", cut, 30)

    def free(self) -> None:
        run("mount", "-o", f"remount,size={ROOMY}", str(self.path))

    def remove(self) -> None:
        if os.path.ismount(self.path):
            self.servers.run("stop", self.name)
            shutil.rmtree(self.aside, ignore_errors=True)
            shutil.copytree(self.path, self.aside, symlinks=True)
            run("umount", str(self.path))
        if self.aside.exists():
            shutil.rmtree(self.path, ignore_errors=True)
            self.aside.rename(self.path)
            self.servers.run("start", self.name)


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{command[0]}: {done.stderr.strip()} (it takes root)"
