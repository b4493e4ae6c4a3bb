"""The images of docker-compose.yml, made of this machine's packages.

`signet` and `postfix` are made by their stages of the Dockerfile: every RUN and COPY of them is carried out, but that packages
are here already. Of the others stands here what docker-compose.yml relies on, as their makers' Dockerfiles have it: who owns
which directory, what is in the PATH, the entry point. The servers themselves are those of tests/services.
"""

import json
import pathlib
import shlex
import shutil

import kits
from container import PATH, Image
from document import ROOT, Dockerfile
from signet import PROGRAM

HERE = pathlib.Path(__file__).resolve().parent


def make_all(layers: pathlib.Path, names: set[str]) -> dict[str, Image]:
    """An image for each name, without its version."""
    return {name: MAKERS[name.partition(":")[0]](layers) for name in sorted(names)}


def stage(layers: pathlib.Path, name: str) -> Image:
    """A stage of the Dockerfile on `debian:bookworm-slim`, which this machine is a larger form of."""
    dockerfile, image = Dockerfile.read(), Image(layers, name)
    release = dict(line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
    assert f"{release['ID']}:{release['VERSION_CODENAME']}-slim" == dockerfile.bases[name], release["PRETTY_NAME"]
    copies = dockerfile.copies(name)
    for instruction, rest in dockerfile.stages[name]:
        match instruction:
            case "RUN":
                image.change(NO_APT + rest)
            case "COPY":
                options, sources, target = next(copies)
                for source in sources:
                    source = {"/made/signet": PROGRAM}.get(source, ROOT / source)
                    mode = int(options["chmod"], 8) if "chmod" in options else source.stat().st_mode & 0o777
                    image.put(source, target + source.name if target.endswith("/") else target, mode)
            case "ENTRYPOINT":
                image.entrypoint = json.loads(rest)
            case "USER":
                pass
            case _:
                raise AssertionError(f"{instruction} is new here")
    return image


# The packages must be here; where they come from is not tried.
NO_APT = """
apt-get() {
    [ "$1" = install ] || return 0
    shift
    for package; do case $package in -*) ;; *) dpkg-query -W "$package" >/dev/null ;; esac done
}
debconf-set-selections() { cat >/dev/null; }
rm() { for each; do case $each in /var/lib/apt/*) return 0 ;; esac done; command rm "$@"; }
userdel signet 2>/dev/null || :
groupdel signet 2>/dev/null || :
"""


def postfix(layers: pathlib.Path) -> Image:
    image = stage(layers, "postfix")
    # A queue that this machine may have of its own is no part of an image.
    image.change("find /var/spool/postfix -type f -delete")
    return image


def cassandra(layers: pathlib.Path) -> Image:
    image = Image(layers, "cassandra")
    shutil.copytree(kits.cassandra(), image.layer / "opt/cassandra/lib")
    image.put(kits.HERE / "cassandra/logback.xml", "/etc/cassandra/logback.xml", 0o644)
    image.put(kits.HERE / "cassandra/jvm.options", "/etc/cassandra/jvm.options", 0o644)
    java = f"exec {kits.java_home()}/bin/java @/etc/cassandra/jvm.options -Xms$MAX_HEAP_SIZE -Xmx$MAX_HEAP_SIZE"
    java += " -Xlog:gc:file=/var/log/cassandra/gc.log -Dcassandra.storagedir=/var/lib/cassandra"
    start = f'[ "$1" = -f ] && shift\n{java} "$@" -cp "/etc/cassandra:/opt/cassandra/lib/*" org.apache.cassandra.service.CassandraDaemon'
    image.change(
        f"""
        mkdir -p /opt/cassandra/bin /var/lib/cassandra /var/log/cassandra
        chmod 0755 /opt/cassandra/lib
        chown 999:999 /var/lib/cassandra /var/log/cassandra
        chmod 1777 /var/lib/cassandra /var/log/cassandra
        printf '%s\\n' '#!/bin/sh' {shlex.quote(start)} >/opt/cassandra/bin/cassandra
        chmod 0755 /opt/cassandra/bin/cassandra
        """
    )
    image.environment["PATH"] = f"/opt/cassandra/bin:{PATH}"
    return image


def elasticsearch(layers: pathlib.Path) -> Image:
    image = Image(layers, "elasticsearch")
    kit = kits.elasticsearch("8")
    home = "/usr/share/elasticsearch"
    for name in ("lib", "classes", "transport-netty4"):
        shutil.copytree(kit / name, image.layer / f"opt/elasticsearch/{name}")
    image.put(HERE / "elasticsearch.py", "/usr/local/bin/docker-entrypoint.sh", 0o755)
    image.put(kits.HERE / "elasticsearch/log4j2.properties", f"{home}/config/log4j2.properties", 0o644)
    image.put(kits.HERE / "elasticsearch/jvm.options", "/opt/elasticsearch/jvm.options", 0o644)
    image.change(
        f"""
        mkdir -p {home}/data {home}/logs {home}/plugins {home}/modules {home}/config
        ln -s /opt/elasticsearch/transport-netty4 {home}/modules/transport-netty4
        chmod -R a+rX /opt/elasticsearch
        chown 1000:0 {home} {home}/config {home}/data {home}/logs {home}/plugins
        chmod 0775 {home} {home}/config {home}/data {home}/logs {home}/plugins
        """
    )
    image.entrypoint = ["/usr/bin/python3", "/usr/local/bin/docker-entrypoint.sh"]
    image.environment["JAVA_HOME"] = str(kits.java_home())
    image.directory = home
    return image


def rabbitmq(layers: pathlib.Path) -> Image:
    image = Image(layers, "rabbitmq")
    image.change(
        """
        rm -rf /var/lib/rabbitmq /var/log/rabbitmq /etc/rabbitmq
        mkdir -p /var/lib/rabbitmq /var/log/rabbitmq /etc/rabbitmq/conf.d
        chown 999:999 /var/lib/rabbitmq /var/log/rabbitmq /etc/rabbitmq /etc/rabbitmq/conf.d
        chmod 1777 /var/lib/rabbitmq /var/log/rabbitmq /etc/rabbitmq /etc/rabbitmq/conf.d
        """
    )
    image.environment |= {"PATH": f"{kits.RABBITMQ}:{PATH}", "HOME": "/var/lib/rabbitmq", "RABBITMQ_DATA_DIR": "/var/lib/rabbitmq"}
    image.environment |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    return image


def redis(layers: pathlib.Path) -> Image:
    image = Image(layers, "redis")
    image.change("mkdir -p /data; chown 999:999 /data")
    image.directory = "/data"
    return image


def haproxy(layers: pathlib.Path) -> Image:
    image = Image(layers, "haproxy")
    start = 'shift; exec haproxy -W -db "$@"'
    image.change(f"printf '%s\\n' '#!/bin/sh' {shlex.quote(start)} >/usr/local/bin/entry; chmod 0755 /usr/local/bin/entry")
    image.entrypoint = ["entry"]
    return image


MAKERS = {
    "signet": lambda layers: stage(layers, "signet"),
    "signet-postfix": postfix,
    "cassandra": cassandra,
    "elasticsearch": elasticsearch,
    "rabbitmq": rabbitmq,
    "redis": redis,
    "haproxy": haproxy,
}
