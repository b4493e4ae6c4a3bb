"""Three hosts with everything on each: from fresh to mail that is read, and what becomes of it when hosts come and go."""

import re
import shutil
import smtplib

import archives
import monitoring
import single
import steps
import upgrade
from hosts import Host, Hosts
from playbooks import DOMAIN, SIGNET, Address, Platform
from signet import PASSWORD, ROOT, Story, wait_until
from steps import ANNA, CLARA, SENDER, UNKNOWN, message

REPOSITORY = {f"{server}_repository": ["https://packages.example.org stable main"] for server in ("cassandra", "elasticsearch", "rabbitmq", "redis")}
# Each variable that a cluster has besides, with what it cannot be, and where another one makes it so.
WRONG = [
    ("cluster_name", "a b"),
    ("cassandra_version", "3.11"),
    ("cassandra_archive", ""),
    ("cassandra_checksum", "md5:0"),
    ("cassandra_repository", ["packages.example.org"]),
    ("cassandra_repository_key", "", REPOSITORY),
    ("cassandra_heap", "much"),
    ("cassandra_copies", 4),
    ("cassandra_datacenter", "a b"),
    ("cassandra_rack", ""),
    ("cassandra_settings", ["a"]),
    ("cassandra_java_options", {"a": 1}),
    ("cassandra_password", ""),
    ("cassandra_operator_password", "short"),
    ("elasticsearch_version", "6.8.0"),
    ("elasticsearch_archive", ""),
    ("elasticsearch_checksum", "0"),
    ("elasticsearch_repository", "packages.example.org"),
    ("elasticsearch_repository_key", "", REPOSITORY),
    ("elasticsearch_heap", "1"),
    ("elasticsearch_settings", "a"),
    ("elasticsearch_java_options", {"a": 1}),
    ("elasticsearch_password", ""),
    ("rabbitmq_version", "3 or 4"),
    ("rabbitmq_packages", [{"checksum": "sha256:0"}]),
    ("rabbitmq_packages", [{"file": "/nowhere/rabbitmq.deb"}]),
    ("rabbitmq_repository", [""]),
    ("rabbitmq_repository_key", "", REPOSITORY),
    ("rabbitmq_settings", "a"),
    ("rabbitmq_password", ""),
    ("rabbitmq_cookie", ""),
    ("cassandra_archive", "cassandra.tar.gz"),
    ("elasticsearch_archive", "/nowhere/elasticsearch.tar.gz"),
    ("cassandra_exporter", "/nowhere/exporter.jar"),
    ("redis_repository_key", "/nowhere/key.asc", {"redis_repository": REPOSITORY["redis_repository"]}),
    ("redis_version", ""),
    ("redis_packages", [{"file": "https://packages.example.org/redis.deb", "checksum": "0"}]),
    ("redis_packages", "redis.deb"),
    ("redis_repository", ["https://packages.example.org"]),
    ("redis_repository_key", "", REPOSITORY),
    ("redis_memory", "all"),
    ("redis_password", ""),
    ("redis_monitor_password", ""),
    ("cassandra_exporter", "exporter.tar"),
    ("cassandra_exporter_checksum", "0"),
]

SPECIFIED = ROOT / "ansible/roles/settings/meta/argument_specs.yml"
NAMES = ["mail1", "mail2", "mail3"]
BORIS, DORA = (f"{name}@{DOMAIN}" for name in ("boris", "dora"))
# No word of a message that crosses from one host to another may be seen between them.
CANARY = "Kwakzilver"


def tell(story: Story, platform: Platform, hosts: Hosts) -> None:
    make(platform, hosts)
    steps.the_platform_is_made(story, platform, hosts)
    hosts.all[0].run(f"{SIGNET} account create {ANNA} --password-stdin", PASSWORD + "\n")
    mail_goes_from_any_host_to_any(story, platform, hosts)
    nothing_is_seen_between_hosts(story, platform, hosts)
    for host in hosts.all:
        steps.the_host_is_closed(story, host)
    monitoring.tell(story, platform, hosts)
    steps.they_are_refused(story, platform, WRONG)
    options = set(re.findall(r"(?m)^      (\w+):$", SPECIFIED.read_text()))
    tried = {name for name, *_ in single.WRONG + WRONG}
    story.check("every variable there is was wrong once", options == tried, options ^ tried)
    a_host_is_lost(story, platform, hosts)
    upgrade.tell(story, platform, hosts)
    keys_are_rotated(story, platform, hosts)
    all_is_lost_and_restored(story, platform, hosts)
    a_host_is_replaced(story, platform, hosts)
    a_host_is_added_and_removed(story, platform, hosts)


def make(platform: Platform, hosts: Hosts) -> None:
    """Fresh hosts, and an inventory of them."""
    for name in NAMES:
        hosts.add(name)
    platform.settings |= archives.settings(hosts.home / "archives")
    platform.reach(hosts)


def deliver(platform: Platform, host: Host | Address, subject: str) -> None:
    with platform.smtp(host) as session:
        assert session.sendmail(SENDER, [ANNA], message(subject)) == {}


def mail_goes_from_any_host_to_any(story: Story, platform: Platform, hosts: Hosts) -> None:
    with story.step("a mail by SMTP to each host is read through the API on every other, byte for byte, and found"):
        for host in hosts.all:
            deliver(platform, host, f"Mail by {host.name}")
        for host in hosts.all:
            client = platform.client(host).log_in(ANNA)
            for other in hosts.all:
                head = client.wait_for_subject(f"Mail by {other.name}")
                assert client.raw(head["id"]).endswith(b"\r\n\r\nHello Anna.\r\n")
                client.wait_until_indexed(f"subject:{other.name}", 1)
    with story.step("an unknown recipient is refused at RCPT"):
        for host in hosts.all:
            with platform.smtp(host) as session:
                session.mail(SENDER)
                assert session.rcpt(UNKNOWN)[0] == 550


def nothing_is_seen_between_hosts(story: Story, platform: Platform, hosts: Hosts) -> None:
    with story.step("between the hosts no word of a message is seen on its way"), hosts.listen() as heard:
        # Whichever nodes it goes by, some of it crosses.
        for number in range(6):
            # From outside SMTP has TLS too.
            deliver(platform, hosts.all[number % 3], f"{CANARY} {number}")
        client = platform.client(hosts.all[0]).log_in(ANNA)
        client.wait_until_indexed(f"subject:{CANARY}", 6)
        octets = heard()
        assert len(octets) > 100_000, len(octets)
        assert CANARY.encode() not in octets and ANNA.encode() not in octets


def a_host_is_lost(story: Story, platform: Platform, hosts: Hosts) -> None:
    left, lost = hosts.all[:2], hosts.all[2]
    with story.step("one host is powered off, and mail still comes in, is read and found"):
        lost.stop()
        for number, host in enumerate(left):
            deliver_at_last(platform, host, f"Meanwhile {number}")
        for host in left:
            client = platform.client(host).log_in(ANNA)
            client.wait_for_subject("Meanwhile 1")
            client.wait_until_indexed("subject:meanwhile", 2, 120)
    with story.step("site.yml leaves the lost host out, and changes nothing on the others"):
        run = platform.play("site.yml", "--limit", f"!{lost.name}").must_pass()
        assert set(run.changed.values()) == {0}, run.changes()
    keys_are_rotated_without(story, platform, hosts, lost)
    with story.step("it returns, does not serve without the keys of now, gets them of site.yml, and catches up"):
        lost.start()
        wait_until("all of Cassandra is there", lambda: lost.ssh("nodetool status").stdout.count("\nUN ") == 3, 300)
        running = "rabbitmqctl cluster_status --formatter json | grep -c rabbit@mail3"
        wait_until("it is one of RabbitMQ's", lambda: lost.ssh(running).returncode == 0, 300)
        services = "signet-lmtp signet-workers signet-api"
        wait_until("its nodes have ended", lambda: lost.ssh(f"systemctl is-failed {services}").stdout.split() == ["failed"] * 3, 300)
        platform.play("site.yml").must_pass()
        wait_until("it is ready", lambda: lost.ssh(ready()).returncode == 0, 300)
        assert len(set(key_files(hosts.all))) == 1
        client = platform.client(lost).log_in(ANNA)
        client.wait_for_subject("Meanwhile 1", 120)
        deliver_at_last(platform, lost, "Back again")
        client.wait_until_indexed("subject:back", 1, 120)


def keys_are_rotated_without(story: Story, platform: Platform, hosts: Hosts, lost: Host) -> None:
    left = [host for host in hosts.all if host != lost]
    with story.step("rotate-keys.yml begins no epoch while a host is away, unless it is left out"):
        before = key_files(left)
        run = platform.play("rotate-keys.yml")
        assert run.code != 0 and key_files(left) == before, run.output[-2000:]
        platform.play("rotate-keys.yml", "--limit", f"!{lost.name}").must_pass()
        after = key_files(left)
        assert len(set(before)) == len(set(after)) == 1 and before != after
    with story.step("backup.yml brings all there is without the lost host, and refuses to leave out more"):
        platform.play("backup.yml", "--limit", f"!{lost.name}", backup="without").must_pass()
        backup = platform.home / ".backups/without"
        assert {each.name for each in backup.iterdir()} == {*(host.name for host in left), "whole"}
        (keys,) = (platform.home / ".backups-of-keys").iterdir()
        run = platform.play("backup.yml", "--limit", left[0].name, backup="half")
        assert run.code != 0 and "too many hosts" in run.output, run.output[-2000:]
        assert not (platform.home / ".backups/half").exists()
        shutil.rmtree(backup)
        keys.unlink()


def keys_are_rotated(story: Story, platform: Platform, hosts: Hosts) -> None:
    with story.step("status.yml finds all well"):
        platform.play("status.yml").must_pass()
    with story.step("rotate-keys.yml begins an epoch, whose key files all hosts have"):
        before = key_files(hosts.all)
        platform.play("rotate-keys.yml").must_pass()
        after = key_files(hosts.all)
        assert len(set(before)) == len(set(after)) == 1 and before != after
        # An account that no node has open yet.
        hosts.all[0].run(f"{SIGNET} account create {BORIS} --password-stdin", PASSWORD + "\n")
        for host in hosts.all:
            assert platform.client(host).log_in(BORIS).heads() == []
    with story.step("what a purge on one host destroys is destroyed on all once the keys are brought"):
        hosts.all[2].run(f"{SIGNET} account purge {BORIS} --yes")
        platform.play("rotate-keys.yml", "--tags", "bring").must_pass()
        assert len(set(key_files(hosts.all))) == 1 and key_files(hosts.all) != after
        deliver(platform, hosts.all[1], "After the purge")
        platform.client(hosts.all[0]).log_in(ANNA).wait_for_subject("After the purge")


def key_files(hosts: list[Host]) -> list[str]:
    """By host, digests of what is in its key directory."""
    return [host.run("cd /etc/signet/keys && sha256sum *") for host in hosts]


def all_is_lost_and_restored(story: Story, platform: Platform, hosts: Hosts) -> None:
    first = hosts.all[0]
    first.run(f"{SIGNET} account create {CLARA} --password-stdin", PASSWORD + "\n")
    with platform.smtp(first) as session:
        assert session.sendmail(SENDER, [CLARA], message("To one who goes")) == {}
    platform.client(first).log_in(CLARA).wait_for_subject("To one who goes")
    before = steps.everything(platform, first)
    with story.step("backup.yml brings what is stored, and apart from it the keys, encrypted"):
        platform.play("backup.yml", backup="before").must_pass()
        backup, (keys,) = platform.home / ".backups/before", (platform.home / ".backups-of-keys").iterdir()
        assert {each.name for each in backup.iterdir()} == {*NAMES, "whole"}
        assert keys.read_text().startswith("$ANSIBLE_VAULT;")
        assert not re.search(r"(?m)^backup ", first.run("nodetool listsnapshots"))
    with story.step("a backup of which a host's part fails is not called whole"):
        hosts.all[2].run("mv /usr/bin/rsync /usr/bin/rsync.away")
        assert platform.play("backup.yml", backup="broken").code != 0
        assert not (platform.home / ".backups/broken/whole").exists()
        hosts.all[2].run("mv /usr/bin/rsync.away /usr/bin/rsync")
    deliver(platform, first, "After the backup")
    first.run(f"{SIGNET} account purge {CLARA} --yes")
    platform.play("rotate-keys.yml", "--tags", "bring").must_pass()
    platform.play("backup.yml", "--tags", "keys").must_pass()
    with story.step("restore-keys.yml brings back the keys that all hosts have lost, some of them in part, and mail is read with them"):
        known = key_files(hosts.all)
        for host, kept in zip(hosts.all, ("", "", "master.epochs")):
            host.run(f"find /etc/signet/keys -depth -not -name '{kept}' {'-type f' if kept else ''} -delete")
        platform.play("restore-keys.yml").must_pass()
        assert key_files(hosts.all) == known
        for host in hosts.all:
            host.run("systemctl restart signet-api")
            wait_until("it is ready", lambda: host.ssh(ready()).returncode == 0, 60)
        assert steps.everything(platform, first).items() > before.items()
    with story.step("restore.yml refuses servers that hold something, and to leave a host out, and leaves all as it is"):
        run = platform.play("restore.yml", "--limit", f"!{first.name}", backup="before")
        assert run.code != 0 and "cannot be restored to some" in run.output, run.output[-2000:]
        run = platform.play("restore.yml", backup="before")
        assert run.code != 0 and "hold something already" in run.output, run.output[-2000:]
        assert steps.everything(platform, first).items() > before.items()
    for host in hosts.all:
        host.replace()
    with story.step("all is lost, and restore.yml makes of three fresh hosts what the backup says"):
        platform.play("restore.yml", backup="before").must_pass()
        platform.play("status.yml").must_pass()
    with story.step("every message is back, byte for byte, and found; the account that was purged since is not"):
        assert steps.everything(platform, hosts.all[1]) == before
        client = platform.client(hosts.all[2]).log_in(ANNA)
        client.wait_until_indexed(f"subject:{CANARY}", 6)
        session = {"address": CLARA, "password": PASSWORD}
        client.ask("POST", "/v1/session", 401, session)
        with platform.smtp(hosts.all[1]) as session:
            session.mail(SENDER)
            assert session.rcpt(CLARA)[0] == 550
    with story.step("mail comes in again, and a run of site.yml changes nothing"):
        deliver(platform, hosts.all[2], "After the restore")
        platform.client(hosts.all[0]).log_in(ANNA).wait_for_subject("After the restore")
        run = platform.play("site.yml").must_pass()
        assert set(run.changed.values()) == {0}, run.changes()


def a_host_is_replaced(story: Story, platform: Platform, hosts: Hosts) -> None:
    """The first: the others have begun with it."""
    lost, left = hosts.all[0], hosts.all[1]
    with story.step("replace-node.yml refuses a host that is not lost"):
        run = platform.play("replace-node.yml", node=lost.name)
        assert run.code != 0 and "is not lost" in run.output, run.output[-1000:]
    lost.replace()
    deliver_at_last(platform, left, "While one is lost for good")
    with story.step("replace-node.yml makes of a fresh host what the lost one was"):
        platform.play("replace-node.yml", node=lost.name).must_pass()
        platform.play("status.yml").must_pass()
        assert lost.run("nodetool status").count("\nUN ") == 3
        assert f"rabbit@{lost.name}" in left.run("rabbitmq-queues quorum_status signet.jobs")
        client = platform.client(lost).log_in(ANNA)
        client.wait_for_subject("While one is lost for good")
        client.wait_until_indexed("subject:lost", 1)
    with story.step("it has its copies of everything: with another host away all is read"):
        hosts.all[2].stop()
        client = platform.client(lost).log_in(ANNA)
        assert client.raw(client.wait_for_subject("Mail by mail2")["id"]).endswith(b"Hello Anna.\r\n")
        hosts.all[2].start()
        wait_until("all is well again", lambda: platform.play("status.yml").code == 0, 600)


def a_host_is_added_and_removed(story: Story, platform: Platform, hosts: Hosts) -> None:
    added = hosts.add("mail4")
    platform.reach(hosts)
    platform.rename_hosts("        mail3:\n", "        mail3:\n        mail4:\n")
    platform.rename_hosts("    mail3:\n      ansible", "    mail4:\n    mail3:\n      ansible")
    with story.step("add-node.yml takes a fourth host in, which has its part of everything"):
        platform.play("add-node.yml").must_pass()
        assert added.run("nodetool status").count("\nUN ") == 4
        # Three have each queue, as before.
        assert added.run("rabbitmq-queues quorum_status signet.jobs").count("rabbit@") == 4
        platform.play("status.yml").must_pass()
        deliver(platform, added, "By the fourth")
        client = platform.client(added).log_in(ANNA)
        client.wait_for_subject("By the fourth")
        client.wait_until_indexed("subject:fourth", 1)
    with story.step("a run afterwards changes nothing"):
        run = platform.play("site.yml").must_pass()
        assert set(run.changed.values()) == {0}, run.changes()
    with story.step("remove-node.yml refuses a host that cannot be done without"):
        run = platform.play("remove-node.yml", node="mail1")
        assert run.code != 0 and "redis" in run.output, run.output[-1000:]
        run = platform.play("remove-node.yml")
        assert run.code != 0 and "has to name a host" in run.output, run.output[-1000:]
    with story.step("it refuses one that lives and is not reached: whoever has it still would miss it"):
        platform.settings_of["mail4"] = {"ansible_port": 2}
        platform.reach(hosts)
        run = platform.play("remove-node.yml", node="mail4")
        assert run.code != 0 and "Cassandra has it still" in run.output, run.output[-2000:]
        del platform.settings_of["mail4"]
        platform.reach(hosts)
    with story.step("remove-node.yml takes the fourth out, and nothing is lost with it, nor with the keys that it alone has"):
        added.run(f"{SIGNET} account create {DORA} --password-stdin", PASSWORD + "\n")
        added.run(f"{SIGNET} account purge {DORA} --yes")
        platform.play("remove-node.yml", node="mail4").must_pass()
        added.remove()
        hosts.all.remove(added)
        platform.rename_hosts("        mail3:\n        mail4:\n", "        mail3:\n")
        platform.rename_hosts("    mail4:\n    mail3:\n", "    mail3:\n")
        platform.play("site.yml").must_pass()
        platform.play("status.yml").must_pass()
        assert len(set(key_files(hosts.all))) == 1
        for host in hosts.all:
            host.run("systemctl restart signet-api")
            wait_until("it is ready", lambda: host.ssh(ready()).returncode == 0, 60)
            client = platform.client(host).log_in(ANNA)
            assert client.raw(client.wait_for_subject("By the fourth")["id"]).endswith(b"Hello Anna.\r\n")
            client.wait_until_indexed("subject:fourth", 1)


def ready() -> str:
    """A command that ends well when all of a host's nodes are ready."""
    asked = "import urllib.request as r; [r.urlopen(f'http://127.0.0.1:{port}/health/ready') for port in (8421, 8422, 8423)]"
    return f'python3 -c "{asked}"'


def deliver_at_last(platform: Platform, host: Host | Address, subject: str) -> None:
    """As a sender's server does it: it comes again as long as it is told to."""

    def taken() -> bool:
        try:
            deliver(platform, host, subject)
            return True
        except (OSError, smtplib.SMTPException):
            return False

    wait_until(f"{host.address} takes mail", taken, 180)
