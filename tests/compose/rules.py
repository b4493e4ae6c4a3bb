"""What must hold of docker-compose.yml, the Dockerfile and what they name, whatever runs."""

import ipaddress
import pathlib
import re
import shutil
import subprocess
import tomllib

from container import run
from document import ROOT, Compose, Dockerfile

# What an engine must grant, and why, is said in the file.
ROOT_USERS = {"setup": {"CHOWN"}, "postfix": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"}}
WORK_ONCE = {"setup", "schema"}


def is_accepted(story) -> None:
    """By Compose itself, which knows the specification."""
    with story.step("Compose accepts docker-compose.yml"):
        commands = [["docker", "compose"], ["docker-compose"]]
        found = [command for command in commands if subprocess.run([*command, "version"], capture_output=True).returncode == 0]
        assert found, "neither `docker compose` nor docker-compose is installed"
        said = run(*found[0], "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet").stderr.strip()
        assert not said, said


def each_service_is_confined(story, compose: Compose) -> None:
    for service in compose.services.values():
        body = service.body
        with story.step(f"{service.name} is confined, limited, watched, and of a fixed version"):
            name, _, version = body["image"].partition(":")
            if "build" not in body and name != "signet":
                assert re.fullmatch(r"\d+\.\d+\.\d+", version), f"{body['image']} is of no fixed version"
            assert body["read_only"] is True, "its file system is writable"
            assert body["cap_drop"] == ["ALL"] and "privileged" not in body, "capabilities"
            assert set(body.get("cap_add", [])) == ROOT_USERS.get(service.name, set()), body.get("cap_add")
            assert "no-new-privileges:true" in body["security_opt"], body["security_opt"]
            assert (body["user"] == "0:0") == (service.name in ROOT_USERS), f"it runs as {body['user']}"
            assert 0 < service.memory() <= 2 << 30 and body["pids_limit"], "it has no limit"
            assert body["ulimits"]["core"] == 0, "a core may be written"
            once = service.name in WORK_ONCE
            assert body["restart"] == ("no" if once else "unless-stopped"), body["restart"]
            assert once or service.health(), "nothing asks whether it serves"
            for port in body.get("ports", []):
                assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), f"{port} is open to others"
            assert not {"network_mode", "pid", "ipc", "devices", "env_file"} & body.keys(), "it shares what is the machine's"
            for key, value in service.environment.items():
                secret = re.search(r"PASSWORD|PASSWD|SECRET|TOKEN|COOKIE", key) and not key.endswith("_FILE")
                assert not secret and not re.search(r"://[^/]*@", str(value)), f"{key} is a secret in clear"


def parts_fit_together(story, compose: Compose) -> None:
    services = compose.services
    with story.step("whoever works once is waited for, and every volume is named where it is made and used"):
        waited = {name for service in services.values() for name, how in service.waits_for.items() if how.endswith("successfully")}
        assert waited == WORK_ONCE, waited
        assert len(compose.in_order()) == len(services)
        for service in services.values():
            reads_secrets = service.name != "setup" and any(mount.source.endswith("-secrets") for mount in service.mounts)
            assert not reads_secrets or "setup" in compose.above(service.name), f"{service.name} may start before its secrets are made"
        used = {mount.source for service in services.values() for mount in service.mounts if mount.is_volume}
        assert used == set(compose.document["volumes"]), used ^ set(compose.document["volumes"])
    with story.step("there are two nodes of each role, and one of each server"):
        nodes = [service for service in services.values() if "SIGNET_BACKEND" in service.environment]
        roles = [service.body["command"][0] for service in nodes]
        assert sorted(roles) == ["api", "api", "lmtp", "lmtp", "schema", "workers", "workers"], roles
        assert {"postfix", "haproxy", "cassandra", "elasticsearch", "rabbitmq", "redis"} <= services.keys()
    with story.step("HAProxy alone is reached from outside, and the network inside has no way out"):
        networks = compose.document["networks"]
        assert networks["inside"]["internal"] and networks["nowhere"]["internal"]
        assert [name for name, service in services.items() if "outside" in service.networks or service.body.get("ports")] == ["haproxy"]
        assert list(services["setup"].networks) == ["nowhere"]
    with story.step("every file that is mounted is in the repository, and those that are run may be"):
        for service in services.values():
            for mount in service.mounts:
                if mount.is_volume:
                    continue
                path = ROOT / mount.source
                assert mount.read_only and path.is_file() and path.stat().st_mode & 0o044 == 0o044, mount.source
                commands = [service.body.get("entrypoint", [None])[0], (service.health() or [None])[0]]
                assert mount.target not in commands or path.stat().st_mode & 0o111 == 0o111, f"{mount.source} cannot be run"


def addresses_agree(story, compose: Compose) -> None:
    services = compose.services
    with story.step("who is trusted by address has that address"):
        subnet = ipaddress.ip_network(compose.document["networks"]["inside"]["ipam"]["config"][0]["subnet"])
        given = [service.address("inside") for service in services.values() if service.address("inside")]
        assert len(set(given)) == len(given) and all(ipaddress.ip_address(each) in subnet for each in given), given
        haproxy, postfix = (services[name].address("inside") for name in ("haproxy", "postfix"))
        nodes = [service.environment for service in services.values() if "SIGNET_BACKEND" in service.environment]
        for settings in nodes:
            assert settings["SIGNET_DELIVERY_PROXIES"] == settings["SIGNET_REST_PROXIES"] == f"{haproxy}/32"
            assert settings["SIGNET_DELIVERY_TRUSTED_RELAYS"] == f"{postfix}/32"
            assert settings["SIGNET_DELIVERY_PROXY_PROTOCOL"] == settings["SIGNET_REST_PROXY_PROTOCOL"] == "required"
    with story.step("HAProxy looks for each node where it listens"):
        environment = services["haproxy"].environment
        for number in "12":
            lmtp, api = services[f"lmtp-{number}"], services[f"api-{number}"]
            for key, service, setting in (("LMTP", lmtp, "SIGNET_LMTP"), ("API", api, "SIGNET_API")):
                port = service.environment[setting].rpartition(":")[2]
                assert environment[f"SIGNET_{key}_{number}"] == f"{service.address('inside')}:{port}", (key, number)
            assert environment[f"SIGNET_HEALTH_API_{number}_HOST"] == api.address("inside")
            assert environment[f"SIGNET_HEALTH_API_{number}_PORT"] == api.environment["SIGNET_INTERNAL"].rpartition(":")[2]
        bound = {environment[f"SIGNET_{name}_BIND"].rpartition(":")[2] for name in ("SMTP", "API", "ADMIN")}
        assert {port.split(":")[2] for port in services["haproxy"].body["ports"]} == bound, bound
        main = settings_of_postfix()
        host, _, port = environment["SIGNET_LMTP_BIND"].rpartition(":")
        assert main["virtual_transport"] == f"lmtp:inet:[{host}]:{port}", main["virtual_transport"]
        master = (ROOT / "docker/postfix/master.cf").read_text().splitlines()
        listens = next(line.split()[0] for line in master if line.endswith(" smtpd"))
        assert environment["SIGNET_POSTFIX_1"] == f"{services['postfix'].address('inside')}:{listens}"


def secrets_are_given_to_their_owners(story, compose: Compose) -> None:
    with story.step("docker/setup gives each secret to the user that docker-compose.yml runs its reader as"):
        text = (ROOT / "docker/setup").read_text()
        constants = dict(re.findall(r"([A-Z]+)=(\d+)", next(line for line in text.splitlines() if line.startswith("readonly SIGNET="))))
        others = [service for service in compose.services.values() if service.name != "setup"]
        for name, user in constants.items():
            readers = [service for service in others if service.body["image"].partition(":")[0] == name.lower()]
            assert readers and all(service.body["user"].partition(":")[0] == user for service in readers), (name, user)
        assert len(constants) == 6
        made = {f"/secrets/{name}" for name in ("cassandra", "elasticsearch", "rabbitmq", "redis", "haproxy", "signet")}
        assert {mount.target for mount in compose.services["setup"].mounts} == made


def settings_of_postfix() -> dict[str, str]:
    lines = run("postconf", "-n", "-c", str(ROOT / "docker/postfix")).stdout.splitlines()
    return dict(line.split(" = ", 1) if " = " in line else (line.removesuffix(" ="), "") for line in lines)


def postfix_knows_its_settings(story) -> None:
    with story.step("postfix knows every setting of main.cf and every service of master.cf"):
        done = run("postconf", "-n", "-c", str(ROOT / "docker/postfix"))
        assert not done.stderr, done.stderr
        known = {line.partition(" =")[0] for line in run("postconf", "-d").stdout.splitlines()}
        written = re.findall(r"^([a-z_]+) =", (ROOT / "docker/postfix/main.cf").read_text(), re.MULTILINE)
        assert len(written) > 20 and set(written) <= known, set(written) - known
        for line in run("postconf", "-M", "-c", str(ROOT / "docker/postfix")).stdout.splitlines():
            assert (pathlib.Path("/usr/lib/postfix/sbin") / line.split()[7]).exists(), line


def dockerfile_builds_the_program(story, compose: Compose) -> None:
    dockerfile = Dockerfile.read()
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    with story.step("the Dockerfile builds with the Rust and on the Debian that the program runs on"):
        rust = manifest["workspace"]["package"]["rust-version"]
        debian = dockerfile.bases["signet"].removeprefix("debian:").removesuffix("-slim")
        assert dockerfile.bases["builder"] == f"rust:{rust}-{debian}", dockerfile.bases
        assert dockerfile.bases["postfix"] == dockerfile.bases["signet"]
        assert any("cargo build --locked --release --bin signet" in rest for _, rest in dockerfile.stages["builder"])
    with story.step("its stages are those that docker-compose.yml builds, and the program's is not root's"):
        targets = {service.body["build"]["target"] for service in compose.services.values() if "build" in service.body}
        assert targets == dockerfile.stages.keys() - {"builder"}, targets
        assert dockerfile.last("signet", "USER") == compose.services["api-1"].body["user"]
    with story.step("what the build reads is not left out by .dockerignore"):
        kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
        is_sent = lambda path: any(path == each or path.startswith(f"{each}/") for each in kept)
        needed = ["Cargo.toml", "Cargo.lock", ".cargo/config.toml", "src/main.rs"]
        needed += [f"{member}/Cargo.toml" for member in manifest["workspace"]["members"]]
        needed += [target["path"] for kind in ("test", "example", "bin") for target in manifest.get(kind, [])]
        for stage in dockerfile.stages:
            for options, sources, _ in dockerfile.copies(stage):
                needed += [source for source in sources if "from" not in options and source != "."]
        for source in (path for each in kept for path in (ROOT / each).rglob("*.rs")):
            for name in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', source.read_text()):
                needed.append(str((source.parent / name).resolve().relative_to(ROOT)))
        lost = [path for path in needed if not is_sent(path) or not (ROOT / path).exists()]
        assert len(needed) > 20 and not lost, lost
        assert not any(is_sent(path) for path in (".git", "target", "docs"))


def haproxy_accepts_its_settings(story, compose: Compose, place: pathlib.Path) -> None:
    service, text = compose.services["haproxy"], (ROOT / "haproxy/haproxy.cfg").read_text()
    with story.step("every variable that haproxy.cfg reads is set, and none that it does not read"):
        read = set(re.findall(r"\$\{(\w+)[-}]", text))
        assert read and read == service.environment.keys(), read ^ service.environment.keys()
    with story.step("haproxy accepts haproxy.cfg with them"):
        certificate = place / "setup/haproxy/signet.pem"
        environment = service.environment | {"SIGNET_API_CERTIFICATE": str(certificate), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        run("haproxy", "-c", "-f", str(ROOT / "haproxy/haproxy.cfg"), env=environment)


def setup_makes_secrets_once(story, place: pathlib.Path) -> None:
    home = place / "setup"
    for name in ("cassandra", "elasticsearch", "rabbitmq", "redis", "haproxy", "signet"):
        (home / name).mkdir(parents=True)
    setup = [str(ROOT / "docker/setup"), str(home)]
    contents = lambda: {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    with story.step("docker/setup makes every secret, each for one reader, and makes none twice"):
        run(*setup)
        first = contents()
        assert len(first) == 11 and not any(name.endswith(".part") for name in first), first.keys()
        assert all((home / name).stat().st_mode & 0o777 == 0o400 for name in first)
        passwords = [value for name, value in first.items() if name.startswith("signet/") and value]
        assert len(set(passwords)) == 4 and all(len(value.strip()) == 48 for value in passwords)
        for name in ("cassandra/signet.password", "elasticsearch/elastic.password", "rabbitmq/login.conf", "redis/login.conf"):
            assert first[f"signet/{name.partition('/')[0]}.password"].strip() in first[name], name
        run(*setup)
        assert contents() == first
    with story.step("docker/setup that was cut short begins again, and one whose secrets were lost says so"):
        other = place / "cut-short"
        shutil.copytree(home, other)
        (other / "signet/made").unlink()
        (other / "redis/login.conf.part").write_text("half")
        run(setup[0], str(other))
        assert (other / "redis/login.conf").read_bytes() != first["redis/login.conf"] and not (other / "redis/login.conf.part").exists()
        (other / "redis/login.conf").unlink()
        done = subprocess.run([setup[0], str(other)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "redis/login.conf is gone" in done.stderr and "down --volumes" in done.stderr, done
