"""A host for each role, twice or thrice: what is placed by group, servers from every kind of source, an address that hosts share, and hosts
that are lost for good."""

import ssl
import time
import urllib.error
import urllib.request

import archives
import monitoring
from hosts import NETWORK, Host, Hosts, run
from playbooks import SIGNET, Address, Platform
from signet import PASSWORD, Story, wait_until
from steps import ANNA, SENDER, UNKNOWN, the_platform_is_made, verdicts_are_ours
from three import deliver, deliver_at_last
from vendors import FORGED, MARK, SUITE, TOO_NEW, Vendors

NAMES = ["edge1", "edge2", "lmtp1", "lmtp2", "workers1", "workers2", "api1", "api2", "cassandra1", "cassandra2", "cassandra3"]
NAMES += ["elasticsearch1", "elasticsearch2", "elasticsearch3", "rabbitmq1", "rabbitmq2", "rabbitmq3", "redis1", "monitor1"]
SHARED = Address(f"{NETWORK}.100")
# How soon the other one has the address, in seconds.
TAKEN_OVER = 15
# The version that the variables ask for by themselves.
CASSANDRA = "5.0.5"
# What Prometheus asks besides: itself and the Alertmanager.
OF_ITSELF = 2
# By unit, the group of hosts that run it; all do where it is empty.
PLACES = {
    "haproxy": "",
    "postfix@-": "edge",
    "rspamd": "edge",
    "keepalived": "edge",
    "signet-lmtp": "lmtp",
    "signet-workers": "workers",
    "signet-api": "api",
    "cassandra": "cassandra",
    "elasticsearch": "elasticsearch",
    "rabbitmq-server": "rabbitmq",
    "redis-server": "redis",
    "prometheus": "monitor",
}


def tell(story: Story, platform: Platform, hosts: Hosts) -> None:
    # The world knows the platform by the address that hosts share.
    hosts.platform = SHARED.address
    here = {name: hosts.add(name) for name in NAMES}
    platform.settings |= archives.settings(hosts.home / "archives") | {"virtual_addresses": [f"{SHARED.address}/24"], "virtual_interface": "eth0"}
    # One of three hosts of Cassandra can be done without.
    platform.settings |= {"cassandra_copies": 2}
    platform.settings |= {"existing_prometheus": [f"{NETWORK}.1"], "existing_prometheus_directory": str(platform.home / ".prometheus")}
    vendors = by_source(platform, hosts, here)
    # Where a Grafana would be.
    here["monitor1"].run("mkdir -p /etc/grafana/provisioning/dashboards /etc/grafana/provisioning/datasources")
    here["monitor1"].run("printf '[Service]\nExecStart=sleep infinity\n' >/etc/systemd/system/grafana-server.service")
    platform.rename_hosts("    monitoring:\n", "    grafana:\n      hosts:\n        monitor1:\n    monitoring:\n")
    platform.reach(hosts)
    the_platform_is_made(story, platform, hosts)
    each_has_what_it_is_for(story, here)
    mail_is_read(story, platform, here)
    what_is_not_the_vendors_is_refused(story, platform, here, vendors)
    it_is_measured(story, platform, here)
    the_address_is_shared(story, platform, here)
    another_filter_is_asked(story, platform, here)
    hosts_are_lost(story, platform, hosts, here)


def by_source(platform: Platform, hosts: Hosts, here: dict[str, Host]) -> Vendors:
    """The first of each server is of a local archive or of Debian, the second of what is got by a URL, the third of a repository; Redis of
    packages that are given."""
    vendors = Vendors(hosts, platform.settings)
    vendors.pack("cassandra", CASSANDRA, "cassandra.yaml")
    vendors.pack("elasticsearch", platform.settings["elasticsearch_version"], "elasticsearch.yml")
    vendors.take(here["monitor1"], "rabbitmq-server", "redis-server", "redis-tools")
    vendors.publish()
    for server in ("cassandra", "elasticsearch"):
        platform.settings_of[f"{server}2"] = vendors.by_url(server)
        platform.settings_of[f"{server}3"] = vendors.by_repository(server)
    # Elastic's own archive brings a Java.
    for name in ("elasticsearch1", "elasticsearch2"):
        here[name].run("apt-get --yes --no-install-recommends install openjdk-17-jre-headless")
    platform.settings_of["rabbitmq2"] = vendors.by_packages("rabbitmq", "rabbitmq-server", are_got=True)
    platform.settings_of["rabbitmq3"] = vendors.by_repository("rabbitmq") | {"rabbitmq_version": f"3.10.*+{MARK}"}
    platform.settings_of["redis1"] = vendors.by_packages("redis", "redis-tools", "redis-server", are_got=False)
    return vendors


def each_has_what_it_is_for(story: Story, here: dict[str, Host]) -> None:
    with story.step("a server comes from where its host's variables say, in the version that they say"):
        for server in ("cassandra", "elasticsearch"):
            first, second, third = (here[f"{server}{number}"] for number in (1, 2, 3))
            assert first.ssh(f"test -d /opt/{server}-*/lib").returncode == 0 and first.ssh(f"test -e /opt/{server}-*/{MARK}").returncode != 0
            assert second.ssh(f"test -d /opt/{server}-*/lib && test -e /opt/{server}-*/{MARK}").returncode == 0
            assert third.ssh(f"test -e /opt/{server}-*").returncode != 0
            assert TOO_NEW not in third.run(f"dpkg-query --show {server}") and TOO_NEW in third.run(f"apt-cache madison {server}")
            assert "of no use" not in third.run(f"cat /etc/{server}/{server}.y*ml")
        for name, package in (("rabbitmq2", "rabbitmq-server"), ("rabbitmq3", "rabbitmq-server"), ("redis1", "redis-server")):
            assert here[name].run(f"dpkg-query --show {package}").strip().endswith(f"+{MARK}"), name
        assert MARK not in here["rabbitmq1"].run("dpkg-query --show rabbitmq-server")
        assert here["cassandra1"].run("nodetool status").count("\nUN ") == 3
    with story.step("a host runs what its groups say, and no more"):
        running = {name: host.run("systemctl list-units --type=service --state=running --plain --no-legend") for name, host in here.items()}
        for unit, group in PLACES.items():
            found = {name for name, units in running.items() if f"{unit}.service " in units}
            assert found == {name for name in here if group in (name.rstrip("123"), "")}, (unit, found)


def what_is_not_the_vendors_is_refused(story: Story, platform: Platform, here: dict[str, Host], vendors: Vendors) -> None:
    """Nothing of it is installed, and what runs goes on."""
    with story.step("an archive with another checksum is refused"):
        other = {"elasticsearch_version": "8.19.99", "elasticsearch_checksum": f"sha512:{'0' * 128}"}
        run = platform.play("site.yml", "--tags", "elasticsearch", "--limit", "elasticsearch2", **other)
        assert run.code != 0 and "checksum" in run.failures(), run.output[-2000:]
        assert here["elasticsearch2"].ssh("test -e /opt/elasticsearch-8.19.99/lib").returncode != 0
    with story.step("packages that somebody else has signed are refused"):
        other = {"rabbitmq_repository": [f"{vendors.address}/forged {SUITE}"], "rabbitmq_version": f"3.10.*+{FORGED}"}
        run = platform.play("site.yml", "--tags", "common,rabbitmq", "--limit", "rabbitmq3", **other)
        assert run.code != 0, run.output[-2000:]
        assert here["rabbitmq3"].run("dpkg-query --show rabbitmq-server").strip().endswith(f"+{MARK}")
    with story.step("what was refused leaves nothing behind that the next run does not set right"):
        platform.play("site.yml", "--tags", "common,rabbitmq,elasticsearch").must_pass()


def mail_is_read(story: Story, platform: Platform, here: dict[str, Host]) -> None:
    here["lmtp1"].run(f"{SIGNET} account create {ANNA} --password-stdin", PASSWORD + "\n")
    with story.step("mail to the shared address, and to each of its hosts, is read there and found"):
        for number, door in enumerate((SHARED, here["edge1"], here["edge2"])):
            deliver(platform, door, f"By door {number}")
        client = platform.client(SHARED).log_in(ANNA)
        for number in range(3):
            assert client.raw(client.wait_for_subject(f"By door {number}")["id"]).endswith(b"\r\n\r\nHello Anna.\r\n")
        client.wait_until_indexed("subject:door", 3)
    with story.step("an unknown recipient is refused at RCPT"), platform.smtp(SHARED) as session:
        session.mail(SENDER)
        assert session.rcpt(UNKNOWN)[0] == 550


def it_is_measured(story: Story, platform: Platform, here: dict[str, Host]) -> None:
    # Nobody else needs it.
    import yaml

    monitor = here["monitor1"]
    monitoring.all_is_reached(story, monitor)
    with story.step("the probe finds its mail, by the shared address"):
        wait_until("it has", lambda: monitoring.value(monitor, "signet_probe_success") == "1", 120)
    monitoring.nothing_is_raised(story, monitor)
    with story.step("a Prometheus elsewhere is let in with the certificate that is written for it, and nobody without"):
        directory = platform.home / ".prometheus"
        run("promtool", "check", "rules", *(directory / "rules").iterdir())
        trust = ssl.create_default_context(cafile=str(directory / "authority.crt"))
        trust.check_hostname = False
        pages = [
            f"https://{target}{each['labels'].get('__metrics_path__') or scrape['metrics_path']}"
            for scrape in yaml.safe_load((directory / "platform.yml").read_text())["scrape_configs"]
            for each in scrape["static_configs"]
            for target in each["targets"]
        ]
        assert len(pages) == monitoring.targets(monitor) - OF_ITSELF, pages
        for page in pages:
            try:
                urllib.request.urlopen(page, context=trust, timeout=10)
            except urllib.error.HTTPError as error:
                raise AssertionError(f"{page} is answered without a certificate") from error
            except OSError:
                continue
            raise AssertionError(f"{page} is shown to anybody")
        trust.load_cert_chain(str(directory / "prometheus.crt"), str(directory / "prometheus.key"))
        for page in pages:
            with urllib.request.urlopen(page, context=trust, timeout=10) as answer:
                assert b"# TYPE" in answer.read(), page
    with story.step("a Grafana is given the dashboards and whom to ask"):
        assert monitor.run("systemctl is-active grafana-server") == "active\n"
        assert int(monitor.run("ls /var/lib/grafana/dashboards/platform/*.json | wc -l")) >= 3
        assert "127.0.0.1:9090" in monitor.run("cat /etc/grafana/provisioning/datasources/platform.yml")


def the_address_is_shared(story: Story, platform: Platform, here: dict[str, Host]) -> None:
    doors = [here["edge1"], here["edge2"]]

    def owners() -> list[Host]:
        return [host for host in doors if host.process and f" {SHARED.address}/" in host.run("ip -oneline address show dev eth0")]

    def moves(to: Host) -> None:
        begun = time.monotonic()
        wait_until(f"{to.name} has the address", lambda: owners() == [to], TAKEN_OVER)
        deliver_at_last(platform, SHARED, f"By {to.name}")
        print(f"# the address: {time.monotonic() - begun:.1f} s until mail came in by {to.name}", flush=True)
        platform.client(SHARED).log_in(ANNA).wait_for_subject(f"By {to.name}")

    with story.step("one host has the shared address"):
        wait_until("one has it", lambda: len(owners()) == 1, TAKEN_OVER)
    (first,) = owners()
    (second,) = set(doors) - {first}
    with story.step("when its HAProxy stops, the other has it, and mail goes on coming in"):
        first.run("systemctl stop haproxy")
        moves(second)
    with story.step("once HAProxy is back, the address stays where it is"):
        first.run("systemctl start haproxy")
        time.sleep(TAKEN_OVER)
        assert owners() == [second]
    with story.step("when that host is lost, the first has it again"):
        second.stop()
        moves(first)
    with story.step("once it is back, the address stays where it is, and all is well"):
        second.start()
        wait_until("all is well", lambda: platform.play("status.yml").code == 0, 300)
        assert owners() == [first]


def another_filter_is_asked(story: Story, platform: Platform, here: dict[str, Host]) -> None:
    platform.rename_hosts("    rspamd: *edge\n", "    rspamd: *edge\n    amavis: *edge\n")
    platform.set(content_filter="amavis")
    with story.step("amavis is asked in place of rspamd, which is stopped"):
        platform.play("site.yml", "--tags", "rspamd,amavis,postfix").must_pass()
        for name in ("edge1", "edge2"):
            # No DNS answers here, for which SpamAssassin would wait.
            here[name].run("echo dns_available no >>/etc/spamassassin/local.cf && systemctl restart amavis")
            assert here[name].ssh("systemctl is-active amavis rspamd").stdout == "active\ninactive\n"
    verdicts_are_ours(story, platform, SHARED, platform.client(SHARED).log_in(ANNA))


def hosts_are_lost(story: Story, platform: Platform, hosts: Hosts, here: dict[str, Host]) -> None:
    """None of them comes back, and what each kept others keep already."""
    for name in ("lmtp2", "elasticsearch3", "rabbitmq3", "cassandra3"):
        lost = here.pop(name)
        lost.stop()
        with story.step(f"remove-node.yml takes {name} out, which is lost"):
            platform.play("remove-node.yml", node=name).must_pass()
            lost.remove()
            hosts.all.remove(lost)
            platform.rename_hosts(f"    {name}:\n      ansible_host: 192.0.2.{NAMES.index(name) + 1}\n", "")
            platform.rename_hosts(f"            {name}:\n" if name == "lmtp2" else f"        {name}:\n", "")
    with story.step("what is left is a platform: all is well, mail comes in, is read and found, and a run afterwards changes nothing"):
        platform.play("site.yml").must_pass()
        platform.play("status.yml").must_pass()
        deliver_at_last(platform, SHARED, "After the losses")
        client = platform.client(SHARED).log_in(ANNA)
        client.wait_for_subject("After the losses")
        client.wait_until_indexed("subject:losses", 1)
        client.wait_until_indexed("subject:door", 3)
        run = platform.play("site.yml").must_pass()
        assert set(run.changed.values()) == {0}, run.changes()
