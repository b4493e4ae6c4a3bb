"""Where the servers come from: packages of Debian, jars of Maven Central."""

import glob
import hashlib
import os
import pathlib
import re
import shutil
import string
import subprocess
import tempfile
from typing import NamedTuple

from node import HERE, Trouble

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "signet-services"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
RABBITMQ = pathlib.Path("/usr/lib/rabbitmq/bin")
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
MAVEN_SECONDS = 900.0


class Elasticsearch(NamedTuple):
    """A version of it, and the module of that version which serves HTTP."""

    version: str
    module: str
    plugin: str
    least_java: int = 17

    def is_modular(self) -> bool:
        return not self.version.startswith("7.")


ELASTICSEARCH = {
    "7": Elasticsearch("7.17.29", "transport-netty4-client", "org.elasticsearch.transport.Netty4Plugin"),
    "8": Elasticsearch("8.19.5", "transport-netty4", "org.elasticsearch.transport.netty4.Netty4Plugin"),
    "9": Elasticsearch("9.2.0", "transport-netty4", "org.elasticsearch.transport.netty4.Netty4Plugin", 21),
}
# Those that tests/run starts.
FETCHED = ("7", "8")


def chosen_elasticsearch() -> str:
    """Which of them is started: what SIGNET_ELASTICSEARCH names, else 8."""
    name = os.environ.get("SIGNET_ELASTICSEARCH", "8")
    if name not in ELASTICSEARCH:
        raise Trouble(f"SIGNET_ELASTICSEARCH is one of {', '.join(ELASTICSEARCH)}")
    return name


def java_home() -> pathlib.Path | None:
    """A JDK 17: the servers run on it, and it brings the compiler."""
    return next((home for home, version in jdks() if version == 17), None)


def jdks() -> list[tuple[pathlib.Path, int]]:
    """The JDKs that are installed, and their major versions."""
    found = []
    for home in sorted(map(pathlib.Path, glob.glob("/usr/lib/jvm/*"))):
        if (home / "bin/java").exists() and (home / "bin/javac").exists() and (home / "release").exists():
            version = re.search(r'^JAVA_VERSION="(\d+)', (home / "release").read_text(), re.MULTILINE)
            found += [(home, int(version[1]))] if version else []
    return found


def java_home_for(kind: Elasticsearch) -> pathlib.Path:
    homes = [(version, home) for home, version in jdks() if version >= kind.least_java]
    if not homes:
        raise Trouble(f"Elasticsearch {kind.version} needs a JDK {kind.least_java} or newer in /usr/lib/jvm")
    return min(homes)[1]


def program(name: str) -> str | None:
    return shutil.which(name, path=PATH)


def missing_packages() -> list[str]:
    """Debian's names of what has yet to be installed."""
    found = {
        "openjdk-17-jdk-headless": java_home(),
        "maven": program("mvn"),
        "rabbitmq-server": (RABBITMQ / "rabbitmq-server").exists() and program("epmd"),
        "redis-server": program("redis-server"),
        "haproxy": program("haproxy"),
        "openssl": program("openssl"),
    }
    return [package for package, there in found.items() if not there]


def install_packages() -> None:
    packages = missing_packages()
    if packages and subprocess.run([HERE.parent / "install", *packages], stdin=subprocess.DEVNULL).returncode != 0:
        raise Trouble(f"not installed: {' '.join(packages)}")
    if packages := missing_packages():
        raise Trouble(f"still missing: {' '.join(packages)}")


def fetch(*names: str) -> None:
    """Gets all jars that are not there yet: of Cassandra, and of these versions of Elasticsearch."""
    cassandra()
    for name in names:
        elasticsearch(name)


def cassandra() -> pathlib.Path:
    """The folder of its jars."""
    return kit("cassandra", lambda made: download("cassandra", made))


def jmx_exporter() -> pathlib.Path:
    """The jar by which Prometheus asks Cassandra."""
    return next(kit("jmx_exporter", lambda made: download("jmx_exporter", made)).glob("jmx_prometheus_javaagent-*.jar"))


def elasticsearch(name: str) -> pathlib.Path:
    """A folder with the server in `lib`, the module that serves HTTP in `transport-netty4`, our launcher in `classes`, and in
    `native` what it takes from the system."""
    kind = ELASTICSEARCH[name]

    def build(made: pathlib.Path) -> None:
        server, module = made / "lib", made / "transport-netty4"
        download("elasticsearch", server, f"-Delasticsearch.version={kind.version}", f"-Delasticsearch.module={kind.module}")
        module.mkdir()
        for pattern in ("netty-*.jar", "transport-netty4-*.jar", "elasticsearch-ssl-config-*.jar"):
            for jar in server.glob(pattern):
                jar.rename(module / jar.name)
        described = (HERE / "elasticsearch/plugin-descriptor.properties").read_text()
        described = string.Template(described).substitute(version=kind.version, plugin=kind.plugin)
        if kind.is_modular():
            described += "modulename=org.elasticsearch.transport.netty4\n"
        (module / "plugin-descriptor.properties").write_text(described)
        # What Elastic's packages bring along: from 9 on documents are compressed by it.
        (made / "native").mkdir()
        for library in glob.glob("/usr/lib/*/libzstd.so.1"):
            (made / "native/libzstd.so").symlink_to(library)
        compiler = java_home_for(kind) / "bin/javac"
        launcher = HERE / "elasticsearch" / ("" if kind.is_modular() else "7") / "Launch.java"
        run([compiler, "-nowarn", "-cp", f"{server}/*", "-d", made / "classes", launcher], 120.0)

    return kit("elasticsearch", build, kind.version)


def kit(name: str, build, version: str = "") -> pathlib.Path:
    """What `build` makes of the recipe, kept until the recipe changes. It is there whole, or not at all."""
    recipe = hashlib.sha256(version.encode())
    for file in ("pom.xml", "Launch.java", "7/Launch.java", "plugin-descriptor.properties"):
        if (HERE / name / file).exists():
            recipe.update((HERE / name / file).read_bytes())
    kept = CACHE / f"{name}-{recipe.hexdigest()[:12]}"
    if not kept.is_dir():
        print(f"getting {name} {version}".rstrip(), "(Maven Central), once", flush=True)
        for left in CACHE.glob(f"{name}-*.part"):
            shutil.rmtree(left)
        made = pathlib.Path(tempfile.mkdtemp(prefix=f"{kept.name}-", suffix=".part", dir=CACHE))
        try:
            build(made)
            made.rename(kept)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return kept


def download(name: str, target: pathlib.Path, *properties: str) -> None:
    """The jars that the recipe's pom.xml names, and those that they need. Maven keeps what arrived, so it may try again."""
    # With -U it also asks again for what it has once failed to get.
    maven = [program("mvn"), "-B", "-ntp", "-U", "--strict-checksums", "-f", HERE / name / "pom.xml"]
    wanted = [COPY, f"-DoutputDirectory={target}", "-DincludeScope=runtime", *properties]
    for tries_left in (2, 1, 0):
        try:
            return run([*maven, *wanted], MAVEN_SECONDS, JAVA_HOME=str(java_home()))
        except Trouble as trouble:
            if not tries_left:
                raise
            print(f"once more: {trouble}", flush=True)


def run(command: list, seconds: float, **environment: str) -> None:
    """Runs a program to its end; what it printed is shown when that is not a good one."""
    try:
        done = subprocess.run(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise Trouble(f"{command[0]} did not end within {seconds:g} s") from None
    if done.returncode != 0:
        lines = done.stdout.decode(errors="replace").splitlines()[-20:]
        raise Trouble(f"{command[0]} ended with {done.returncode}:\n" + "\n".join(f"  {line}" for line in lines))
