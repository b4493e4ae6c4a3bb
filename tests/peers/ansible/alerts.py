"""Faults that are real, and the alerts that are raised by them. How long a rule waits before it alerts is cut: that is tested by
tests/alerts/run."""

import contextlib
import http.client
import re
import shlex
import smtplib
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import monitoring
import strikes
import three
from hosts import Host, Hosts
from playbooks import SIGNET, Platform, TlsClient
from signet import PASSWORD, Story, wait_until

RULES = "/etc/prometheus/rules"
MEASURED = "/var/lib/prometheus/node-exporter"
TOLD = "/etc/prometheus/alertmanager.yml"
KEPT, HEAP, LITTLE = "/var/lib/cassandra/data/signet", "/etc/cassandra/jvm.options", "170m"
# It may have ended too often meanwhile to be started once more.
RESTART_CASSANDRA = "systemctl reset-failed cassandra; systemctl restart cassandra"
# Makes an index of which the third host alone has all.
LONE_INDEX = """
import json, urllib.request as r
settings = {"number_of_replicas": 0, "index.routing.allocation.require._name": "mail3"}
body = json.dumps({"settings": settings}).encode()
kind = {"Content-Type": "application/json"}
r.urlopen(r.Request("http://127.0.0.1:9200/lost?wait_for_active_shards=1", method="PUT", headers=kind, data=body))
"""
OVERRIDE = "/run/systemd/system/signet-workers.service.d"
FAKED = "FAKETIME=+1s LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
AHEAD = (
    f"apt-get --quiet --yes install faketime && mkdir -p {OVERRIDE} && printf '[Service]\\nEnvironment={FAKED}\\n' >{OVERRIDE}/clock.conf "
    "&& systemctl daemon-reload && systemctl restart signet-workers"
)
# How soon an alert whose rule does not wait is raised, in seconds: what is measured is so every 15 s, and so are rules.
RAISED = 150
# What is cut beside the waiting: windows in which numbers are looked at, how long the probe may be silent, how far jobs may be behind,
# and how many of them, of compactions and of dropped requests there may be.
CUT = [
    r"s/^( +for:) .*/\1 0s/",
    r"s/\[(5|10|15|30)m\]/[1m]/",
    r"s/\[1h\]/[1m]/",
    r"s/> 6 \* 3600/> 30/",
    r"s/> 180 /> 60 /",
    r"s/> 600$/> 30/",
    r"s/> 1000$/> 20/",
    r"s/> 10$/> 0/",
    r"s/pending_compactions > 100$/pending_compactions > 0/",
    r"s/\b3h/1m/g",
]


class Fault(NamedTuple):
    """What is done to hosts, counted from 0, and undone: a command, or a function; what goes on meanwhile; the alerts."""

    sentence: str
    alerts: set[str]
    struck: list[int]
    done: str | Callable[[Host], None]
    undone: str | Callable[[Host], None]
    meanwhile: Callable[[Platform, Hosts, TlsClient], None] = strikes.rest
    # After so many seconds it is undone, where what it does is measured once it is over; else once the alerts are raised.
    lasts: float | None = None


FAULTS = [
    Fault(
        "rspamd, postfix, RabbitMQ and a node of Signet stop on one host",
        {"RspamdDown", "PostfixDown", "RabbitMQNodeDown", "TargetDown"},
        [2],
        "systemctl stop rspamd postfix rabbitmq-server signet-api",
        "systemctl start rabbitmq-server rspamd postfix signet-api",
    ),
    Fault(
        "a unit fails, and a file that is measured is none",
        {"SystemdUnitFailed", "TextfileBroken"},
        [1],
        f"systemd-run --quiet --unit=broken --remain-after-exit false; echo '{{' >{MEASURED}/broken.prom",
        f"systemctl reset-failed broken; rm {MEASURED}/broken.prom",
    ),
    Fault(
        "it is not known when a certificate ends",
        {"CertificateUnseen"},
        [1],
        f"mv {MEASURED}/certificates.prom /var/tmp",
        f"mv /var/tmp/certificates.prom {MEASURED}",
    ),
    Fault("Redis stops", {"RedisDown", "CacheAway"}, [0], "systemctl stop redis-server", "systemctl start redis-server"),
    Fault(
        "a RabbitMQ node has too little memory",
        {"RabbitMQAlarm"},
        [1],
        "rabbitmqctl set_vm_memory_high_watermark absolute 1MB",
        "rabbitmqctl set_vm_memory_high_watermark absolute 512MB",
    ),
    Fault(
        "two of three RabbitMQ nodes stop",
        {"RabbitMQNoQuorum", "QueueAway", "ReceiptDeferred"},
        [1, 2],
        "systemctl stop rabbitmq-server",
        "systemctl start rabbitmq-server",
        strikes.send_and_read,
    ),
    Fault(
        "an index has no copies, and its only one is away",
        {"ElasticsearchRed", "ElasticsearchNodeMissing"},
        [2],
        f"{monitoring.PYTHON} {shlex.quote(LONE_INDEX)} && systemctl stop elasticsearch",
        "systemctl start elasticsearch",
    ),
    Fault("a host has no Elasticsearch", {"ElasticsearchYellow"}, [1], "systemctl stop elasticsearch", "systemctl start elasticsearch"),
    Fault(
        "no Elasticsearch runs",
        {"ElasticsearchDown", "ProbeFails", "JobsWait", "JobsOld", "IndexLags"},
        [0, 1, 2],
        "systemctl stop elasticsearch",
        "systemctl start elasticsearch",
        strikes.send_and_read,
    ),
    Fault("one Cassandra node stops", {"CassandraNodeDown"}, [2], "systemctl stop cassandra", "systemctl start cassandra"),
    Fault(
        "two of three Cassandra nodes stop",
        {"CassandraNoQuorum", "CassandraUnavailable", "NoDoor", "NodeNotReady", "ApiErrors"},
        [1, 2],
        "systemctl stop cassandra",
        "systemctl start cassandra",
        strikes.ask_the_node,
    ),
    Fault(
        "two of three Cassandra nodes hang",
        {"CassandraTimeouts", "CassandraDropped", "ApiSlow", "KeepSlow"},
        [1, 2],
        "systemctl kill --signal=STOP cassandra",
        "systemctl kill --signal=CONT cassandra",
        strikes.send_and_read,
        lasts=60,
    ),
    Fault(
        "Cassandra may not write where its data are",
        {"CassandraExceptions"},
        [2],
        f"chown -R root {KEPT}; nodetool flush signet; true",
        f"chown -R cassandra {KEPT}; {RESTART_CASSANDRA}",
        strikes.send_and_read,
    ),
    Fault(
        "Cassandra has a small heap",
        {"JavaHeapFull"},
        [2],
        f"cp {HEAP} /var/tmp; sed -i -E 's/^-Xm([sx]).*/-Xm\\1{LITTLE}/' {HEAP}; systemctl restart cassandra",
        f"cp /var/tmp/jvm.options {HEAP}; {RESTART_CASSANDRA}",
        strikes.send_and_read,
    ),
    Fault(
        "Cassandra may not compact as fast as it is written",
        {"CassandraCompactionsPending"},
        [2],
        "nodetool setcompactionthroughput 1",
        "nodetool setcompactionthroughput 64",
        strikes.send_much_and_flush,
    ),
    Fault("somebody guesses passwords", {"SignInsRefused"}, [0], strikes.have_guessers, strikes.have_no_guessers, strikes.guess),
    Fault(
        "postfix takes mail for a domain that Signet does not have",
        {"MailRefusedByFault"},
        [0, 1, 2],
        strikes.tell_postfix_of_a_domain,
        "cp /var/tmp/main.cf /etc/postfix/main.cf; postfix reload",
        strikes.name_somebody_untold,
    ),
    Fault("a disk is full", {"DiskFull", "DiskFullSoon", "InodesFull"}, [1], strikes.fill_a_disk, strikes.take_the_disk_away),
    Fault("a machine has little memory left", {"MemoryLow"}, [0], strikes.take_most_memory, strikes.give_memory_back),
    Fault("the kernel ends a process for its memory", {"OutOfMemoryKill"}, [0], strikes.take_too_much_memory, "true"),
    Fault("a node's clock is a second ahead", {"ClocksApart"}, [1], AHEAD, f"rm -r {OVERRIDE}; systemctl daemon-reload; systemctl restart signet-workers"),
    Fault(
        "no lmtp node runs, and mail waits",
        {"DoorPartly", "PostfixQueueGrows", "PostfixQueueOld"},
        [0, 1, 2],
        "systemctl stop signet-lmtp",
        "systemctl start signet-lmtp",
        strikes.send_and_age,
    ),
    Fault(
        "the Alertmanager is given what it cannot read",
        {"ConfigurationRefused"},
        [0],
        f"cp {TOLD} /var/tmp; echo '{{' >>{TOLD}; systemctl reload prometheus-alertmanager",
        f"cp /var/tmp/alertmanager.yml {TOLD}; systemctl reload prometheus-alertmanager",
    ),
    Fault(
        "a rule cannot be evaluated",
        {"PrometheusRulesFailing"},
        [0],
        f"echo '{{groups: [{{name: fault, rules: [{{record: fault, expr: up + on () up}}]}}]}}' >{RULES}/fault.yml; systemctl reload prometheus",
        f"rm {RULES}/fault.yml; systemctl reload prometheus",
    ),
    # Whom Prometheus itself answers with 405: that is not tried again.
    Fault(
        "nobody can be told",
        {"AlertmanagerFailing"},
        [0],
        f"cp {TOLD} /var/tmp; sed -i 's|^- name: operators|- name: operators\\n  webhook_configs: [{{url: \"http://127.0.0.1:9090/\"}}]|' {TOLD}; "
        "systemctl reload prometheus-alertmanager; systemd-run --quiet --unit=broken --remain-after-exit false",
        f"cp /var/tmp/alertmanager.yml {TOLD}; systemctl reload prometheus-alertmanager; systemctl reset-failed broken",
    ),
    Fault(
        "the last backup is of the day before yesterday",
        {"BackupOld"},
        [0, 1, 2],
        f"echo signet_backup_timestamp_seconds $(date -d '-2 days' +%s) >{MEASURED}/backup.prom",
        f"rm {MEASURED}/backup.prom",
    ),
    Fault(
        "there is no backup, and the probe does not run",
        {"BackupMissing", "ProbeSilent"},
        [0],
        "systemctl stop signet-probe.timer",
        "systemctl start signet-probe.timer",
    ),
]


def tell(story: Story, platform: Platform, hosts: Hosts) -> None:
    three.make(platform, hosts)
    platform.play("site.yml").must_pass()
    hosts.all[0].run(f"{SIGNET} account create {strikes.ANNA} --password-stdin", PASSWORD + "\n")
    monitoring.all_is_reached(story, hosts.all[0])
    are_raised(story, platform, hosts)


def are_raised(story: Story, platform: Platform, hosts: Hosts) -> None:
    first, seen = hosts.all[0], set()
    client = platform.client(first).log_in(strikes.ANNA)
    first.run(f"cp -r {RULES} /var/tmp/rules && sed -i -E {shlex.quote('; '.join(CUT))} {RULES}/*.yml && systemctl reload prometheus")
    for fault in FAULTS:
        with story.step(f"{fault.sentence}: {', '.join(sorted(fault.alerts))}"):
            seen |= strike(platform, hosts, client, fault)
    with story.step("a certificate ends in two days: CertificateEnds; a run makes it anew"):
        begun, host = time.time(), hosts.all[1]
        host.run("rm /etc/ssl/platform/host/2.crt")
        platform.play("site.yml", "--limit", host.name, certificate_days=2, certificate_renewal_days=1).must_pass()
        wait_until("it is raised", lambda: "CertificateEnds" in raised_since(first, begun), RAISED)
        seen |= raised_since(first, begun)
        platform.play("site.yml", "--limit", host.name).must_pass()
        wait_until("it is over", lambda: not monitoring.query(first, 'ALERTS{alertname="CertificateEnds"}'), RAISED)
    with story.step("a host is lost: HostDown"):
        begun = time.time()
        hosts.all[2].stop()
        wait_until("it is raised", lambda: "HostDown" in raised_since(first, begun), RAISED)
        seen |= raised_since(first, begun)
        hosts.all[2].start()
        wait_until("all is well again", lambda: platform.play("status.yml").code == 0, 300)
    with story.step("bytes are lost before they are indexed: DriftFound, JobsDead"):
        begun = time.time()
        monitoring.stop_workers(hosts, "stop")
        strikes.send(platform, hosts, client)
        strikes.bring_what_waits(hosts)
        strikes.lose(first, "TRUNCATE blobs")
        monitoring.stop_workers(hosts, "start")
        first.ssh(f"{SIGNET} check")
        wait_until("they are raised", lambda: {"DriftFound", "JobsDead"} <= raised_since(first, begun), RAISED)
        seen |= raised_since(first, begun)
    with story.step("a table is lost: PeriodicJobFails"):
        begun = time.time()
        strikes.lose(first, "DROP TABLE unindexed")
        # Which is looked through once an hour: nobody knows any more when that was.
        strikes.lose(first, "TRUNCATE periodic_jobs")
        wait_until("it is raised", lambda: "PeriodicJobFails" in raised_since(first, begun), RAISED)
        seen |= raised_since(first, begun)
    known = {name for file in (monitoring.ROLE / "rules").glob("*.yml") for name in re.findall(r"- alert: (\w+)", file.read_text())}
    # The hosts have the clock of the machine that they share.
    story.check(f"each of {len(known)} alerts was raised, but for that of a clock", known - seen == {"ClockWrong"}, known - seen)
    first.run(f"rm -r {RULES} && mv /var/tmp/rules {RULES} && systemctl reload prometheus")


def strike(platform: Platform, hosts: Hosts, client: TlsClient, fault: Fault) -> set[str]:
    """What was raised while the hosts had the fault; afterwards all is well again."""
    first, begun, over = hosts.all[0], time.time(), threading.Event()
    with contextlib.ExitStack() as undoing:
        for number in fault.struck:
            undoing.callback(do, fault.undone, hosts.all[number])
        meanwhile = threading.Thread(target=go_on, args=(platform, hosts, client, fault, over), daemon=True)
        undoing.callback(meanwhile.join, 120)
        undoing.callback(over.set)
        meanwhile.start()
        for number in fault.struck:
            do(fault.done, hosts.all[number])
        if fault.lasts:
            time.sleep(fault.lasts)
            for number in fault.struck:
                do(fault.undone, hosts.all[number])
        wait_until("they are raised", lambda: fault.alerts <= raised_since(first, begun), RAISED)
        seen = raised_since(first, begun)
    wait_until("all is well again", lambda: platform.play("status.yml").code == 0, 300)
    strikes.bring_what_waits(hosts)
    return seen


def do(what: str | Callable[[Host], None], host: Host) -> None:
    if isinstance(what, str):
        host.ssh(what)
    else:
        what(host)


def go_on(platform: Platform, hosts: Hosts, client: TlsClient, fault: Fault, over: threading.Event) -> None:
    while not over.is_set():
        # Whoever calls or sends meanwhile may well meet the fault.
        with contextlib.suppress(OSError, AssertionError, http.client.HTTPException, smtplib.SMTPException):
            fault.meanwhile(platform, hosts, client)


def raised_since(host: Host, begun: float) -> set[str]:
    """Alerts that were raised at any time since then."""
    found = monitoring.query(host, f'max_over_time(ALERTS{{alertstate="firing"}}[{int(time.time() - begun) + 1}s])')
    return {each["metric"]["alertname"] for each in found}
