"""The platform of docker-compose.yml without an engine: every service of the file in a container of container.py, started in
the order and on the conditions of the file, and found well by its own health command."""

import os
import pathlib
import signal
import subprocess

import images
from container import Container, Network, run
from document import Compose
from signet import Story

# Time-outs that a machine with other work keeps; the file's own are for one that has none.
SECONDS = {"cassandra": 900.0, "elasticsearch": 600.0, "rabbitmq": 600.0, "schema": 600.0}
OTHERS = 180.0


class Platform:
    """All of its services."""

    def __init__(self, place: pathlib.Path, compose: Compose):
        self.is_up = False
        self.volumes = place / "volumes"
        self.layers = layers = place / "images"
        layers.mkdir()
        # What covers a file system cannot lie on it.
        run("mount", "-t", "tmpfs", "-o", "size=1g,mode=0755", "tmpfs", str(layers))
        made = images.make_all(layers, {service.body["image"] for service in compose.services.values()})
        self.networks = {
            "inside": Network("inside", "172.30.24"),
            "outside": Network("outside", "172.30.25"),
            "nowhere": Network("nowhere", "172.30.26"),
        }
        self.addresses = {
            service.name: {name: service.address(name) or self.networks[name].next_address() for name in service.networks}
            for service in compose.services.values()
        }
        known = [f"{each['inside']} {name}" for name, each in self.addresses.items() if "inside" in each]
        hosts = "\n".join(["127.0.0.1 localhost", *known, ""])
        self.containers = {
            service.name: Container(layers, self.volumes, made[service.body["image"]], service, self.addresses[service.name], hosts)
            for service in compose.in_order()
        }

    def up(self, story: Story) -> None:
        told, failed = set(), story.failed

        def wait_for(name: str) -> None:
            if name in told:
                return
            told.add(name)
            container, seconds = self.containers[name], SECONDS.get(name, OTHERS)
            if container.service.health():
                with story.step(f"{name} starts as docker-compose.yml has it, and is healthy by its own health command"):
                    container.wait_until_healthy(seconds)
            else:
                with story.step(f"{name} does its work as docker-compose.yml has it, and ends with 0"):
                    container.wait_until_done(seconds)

        for container in self.containers.values():
            for other in container.service.waits_for:
                wait_for(other)
            if story.failed > failed:
                return
            container.start(self.networks)
        for name in self.containers:
            wait_for(name)
        self.is_up = story.failed == failed

    def down(self) -> None:
        """Ends what still runs, at once, and leaves files alone that can be removed."""
        for container in self.containers.values():
            container.kill()
        run("umount", "--lazy", str(self.layers))

    def running(self) -> list[Container]:
        return [container for container in self.containers.values() if container.service.health()]

    def pause_and_ask(self, container: Container) -> bool:
        """Whether its health command notices that the server does not answer any more."""
        processes = container.processes()
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            return container.run(container.service.health(), seconds=12.0).returncode != 0
        except subprocess.TimeoutExpired:
            return True
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)
