"""Where the servers come from: packages of Debian, jars of Maven Central."""

import glob
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from node import HERE, Trouble

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "signet-services"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
RABBITMQ = pathlib.Path("/usr/lib/rabbitmq/bin")
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
MAVEN_SECONDS = 900.0


def java_home() -> pathlib.Path | None:
    """A JDK 17: both servers run on it, and it brings the compiler."""
    homes = [pathlib.Path(home) for home in sorted(glob.glob("/usr/lib/jvm/java-17-openjdk*"))]
    return next((home for home in homes if (home / "bin/java").exists() and (home / "bin/javac").exists()), None)


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


def fetch() -> None:
    """Gets all jars that are not there yet."""
    cassandra()
    elasticsearch()


def cassandra() -> pathlib.Path:
    """The folder of its jars."""
    return kit("cassandra", lambda made: download("cassandra", made))


def elasticsearch() -> pathlib.Path:
    """A folder with the server in `lib`, the module that serves HTTP in `transport-netty4`, and our launcher in `classes`."""

    def build(made: pathlib.Path) -> None:
        server, module = made / "lib", made / "transport-netty4"
        download("elasticsearch", server)
        module.mkdir()
        for pattern in ("netty-*.jar", "transport-netty4-*.jar", "elasticsearch-ssl-config-*.jar"):
            for jar in server.glob(pattern):
                jar.rename(module / jar.name)
        shutil.copy(HERE / "elasticsearch/plugin-descriptor.properties", module)
        compiler = java_home() / "bin/javac"
        run([compiler, "-nowarn", "-cp", f"{server}/*", "-d", made / "classes", HERE / "elasticsearch/Launch.java"], 120.0)

    return kit("elasticsearch", build)


def kit(name: str, build) -> pathlib.Path:
    """What `build` makes of the recipe, kept until the recipe changes. It is there whole, or not at all."""
    recipe = hashlib.sha256()
    for file in ("pom.xml", "Launch.java", "plugin-descriptor.properties"):
        if (HERE / name / file).exists():
            recipe.update((HERE / name / file).read_bytes())
    kept = CACHE / f"{name}-{recipe.hexdigest()[:12]}"
    if not kept.is_dir():
        print(f"getting {name} (Maven Central), once", flush=True)
        for left in CACHE.glob(f"{name}-*.part"):
            shutil.rmtree(left)
        made = pathlib.Path(tempfile.mkdtemp(prefix=f"{kept.name}-", suffix=".part", dir=CACHE))
        try:
            build(made)
            made.rename(kept)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return kept


def download(name: str, target: pathlib.Path) -> None:
    """The jars that the recipe's pom.xml names, and those that they need. Maven keeps what arrived, so it may try again."""
    # With -U it also asks again for what it has once failed to get.
    maven = [program("mvn"), "-B", "-ntp", "-U", "--strict-checksums", "-f", HERE / name / "pom.xml"]
    wanted = [COPY, f"-DoutputDirectory={target}", "-DincludeScope=runtime"]
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
