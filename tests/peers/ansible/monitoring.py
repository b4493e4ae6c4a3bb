"""What is measured: whether Prometheus reaches everything, knows every number that rules and dashboards name, and what the probe
says when the mail is not found."""

import json
import re
import time
import urllib.parse

import playbooks
from hosts import Host, Hosts
from signet import ROOT, Story, wait_until

ROLE = ROOT / "ansible/roles/monitoring/files"
PROMETHEUS, ALERTMANAGER = 9090, 9093
# Numbers that are there once something has happened; and those that not every kernel counts, or not for a container.
SELDOM = re.compile(r"signet_(backup|drift|lmtp_connections_refused)_|node_(timex|pressure|disk|vmstat)_")
PYTHON = "python3 -c"
# Those that only a cluster has.
OF_CLUSTERS = re.compile(r"(cassandra|elasticsearch|jvm|rabbitmq|redis)_|signet_(cache_up|queue_up|clock_distance_seconds)")
# How soon a fault has to be seen, in seconds.
SOON = 60


def tell(story: Story, platform: "playbooks.Platform", hosts: Hosts) -> None:
    first = hosts.all[0]
    all_is_reached(story, first)
    with story.step("there is every number that rules and dashboards ask for"):
        wait_until("the probe has run", lambda: "signet_probe_success" in names(first), SOON)
        wanted = {name for name in named() if not SELDOM.match(name) and (len(hosts.all) > 1 or not OF_CLUSTERS.match(name))}
        missing = wanted - names(first)
        assert not missing, sorted(missing)
    nothing_is_raised(story, first)
    with story.step("the probe sees within a minute that nothing works off jobs, and that something does again"):
        assert first.ssh("systemctl start signet-probe").returncode == 0, first.ssh("journalctl -u signet-probe -n 5").stdout
        stop_workers(hosts, "stop")
        begun = time.monotonic()
        wait_until("it is seen", lambda: value(first, "signet_probe_success") == "0", SOON)
        print(f"# probe: {time.monotonic() - begun:.0f} s until Prometheus knew", flush=True)
        stop_workers(hosts, "start")
        wait_until("all is well again", lambda: value(first, "signet_probe_success") == "1", 2 * SOON)


def all_is_reached(story: Story, host: Host) -> None:
    with story.step("Prometheus reaches everything on every host"):
        wait_until("all is measured", lambda: len(ups(host)) >= targets(host) and set(ups(host).values()) == {"1"}, 120)


def nothing_is_raised(story: Story, host: Host) -> None:
    with story.step("no alert is raised while all is well"):
        assert not alerts(host), alerts(host)


def stop_workers(hosts: Hosts, verb: str) -> None:
    """In one process there is no part to be stopped by itself: all of it is."""
    for host in hosts.all:
        unit = "signet-workers" if len(hosts.all) > 1 else "signet-all"
        host.run(f"systemctl {verb} {unit}")


def ask(host: Host, path: str, port: int = PROMETHEUS) -> dict:
    """What Prometheus answers on that host."""
    call = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}{path}').read().decode())"
    return json.loads(host.run(f'{PYTHON} "{call}"'))


def query(host: Host, text: str) -> list[dict]:
    return ask(host, f"/api/v1/query?query={urllib.parse.quote(text)}")["data"]["result"]


def value(host: Host, text: str) -> str | None:
    found = query(host, text)
    return found[0]["value"][1] if found else None


def ups(host: Host) -> dict[tuple[str, ...], str]:
    """By job, host and role, whether it was reached the last time."""
    labels = ("job", "instance", "role")
    return {tuple(each["metric"].get(name, "") for name in labels): each["value"][1] for each in query(host, "up")}


def targets(host: Host) -> int:
    return len(ask(host, "/api/v1/targets")["data"]["activeTargets"])


def names(host: Host) -> set[str]:
    return set(ask(host, "/api/v1/label/__name__/values")["data"])


def alerts(host: Host) -> set[str]:
    """Those that are raised."""
    found = ask(host, "/api/v1/alerts")["data"]["alerts"]
    return {each["labels"]["alertname"] for each in found if each["state"] == "firing"}


def named() -> set[str]:
    """Numbers whose names stand in rules and dashboards."""
    texts = [file.read_text() for kind in ("rules/*.yml", "dashboards/*.json") for file in ROLE.glob(kind)]
    known = r"\b((?:signet|platform|cassandra|elasticsearch|rabbitmq|redis|haproxy|postfix|rspamd|node|jvm|alertmanager|prometheus)_[a-z_]+)\b"
    expressions = [each for text in texts for each in re.findall(r'(?m)^\s*(?:- )?expr: (.*(?:\n {10,}.*)*)|"expr": ("(?:[^"\\]|\\.)*")', text)]
    return {name for pair in expressions for name in re.findall(known, "".join(pair))}
