"""Faults that are real, and the alerts that are raised by them. How long a rule waits before it alerts is cut: that is tested by
tests/alerts/run."""

import time

import monitoring
import single
from hosts import Hosts
from monitoring import alerts
from playbooks import DOMAIN, Platform
from signet import Story, wait_until

ANNA = f"anna@{DOMAIN}"
RULES = "/etc/prometheus/rules"
MEASURED = "/var/lib/prometheus/node-exporter"
ELASTICSEARCH = "http://127.0.0.1:9200"
# How soon an alert whose rule does not wait is raised, in seconds: what is measured is so every 15 s, and so are rules.
RAISED = 150
# By sentence, the alerts; which hosts, what is done to them, and undone. Hosts are counted from 0.
FAULTS: list[tuple[str, set[str], list[int], str, str]] = [
    ("rspamd, postfix, RabbitMQ and a node of Signet stop on one host", {"RspamdDown", "PostfixDown", "RabbitMQNodeDown", "TargetDown"}, [2],
     "systemctl stop rspamd postfix rabbitmq-server signet-api", "systemctl start rabbitmq-server rspamd postfix signet-api"),
    ("a unit fails, and a file that is measured is none", {"SystemdUnitFailed", "TextfileBroken"}, [1],
     f"systemd-run --quiet --unit=broken --remain-after-exit false; echo '{{' >{MEASURED}/broken.prom", f"systemctl reset-failed broken; rm {MEASURED}/broken.prom"),
    ("a certificate is not seen, and another one ends soon", {"CertificateUnseen", "CertificateEnds"}, [1, 2],
     f"cp {MEASURED}/certificates.prom /var/tmp; test $(hostname) = mail2 && rm {MEASURED}/certificates.prom || "
     f"sed -i \"s/ [0-9]*$/ $(date -d '+2 days' +%s)/\" {MEASURED}/certificates.prom", f"cp /var/tmp/certificates.prom {MEASURED}"),
    ("Redis stops", {"RedisDown", "CacheAway"}, [0], "systemctl stop redis-server", "systemctl start redis-server"),
    ("a RabbitMQ node has too little memory", {"RabbitMQAlarm"}, [1],
     "rabbitmqctl set_vm_memory_high_watermark absolute 1MB", "rabbitmqctl set_vm_memory_high_watermark absolute 512MB"),
    ("two of three RabbitMQ nodes stop", {"RabbitMQNoQuorum", "QueueAway"}, [1, 2], "systemctl stop rabbitmq-server", "systemctl start rabbitmq-server"),
    ("an index has no copies, and its only one is away", {"ElasticsearchRed", "ElasticsearchNodeMissing"}, [2],
     f"{monitoring.PYTHON} \"import urllib.request as r; r.urlopen(r.Request('{ELASTICSEARCH}/lost?wait_for_active_shards=1', method='PUT', headers={{'Content-Type': "
     "'application/json'}, data=b'{\\\"settings\\\":{\\\"number_of_replicas\\\":0,\\\"index.routing.allocation.require._name\\\":\\\"mail3\\\"}}'))\" "
     "&& systemctl stop elasticsearch", "systemctl start elasticsearch"),
    ("a host has no Elasticsearch", {"ElasticsearchYellow"}, [1], "systemctl stop elasticsearch", "systemctl start elasticsearch"),
    ("no Elasticsearch runs", {"ElasticsearchDown", "ProbeFails"}, [0, 1, 2], "systemctl stop elasticsearch", "systemctl start elasticsearch"),
    ("one Cassandra node stops", {"CassandraNodeDown"}, [2], "systemctl stop cassandra", "systemctl start cassandra"),
    ("two of three Cassandra nodes stop", {"CassandraNoQuorum", "CassandraUnavailable", "NoDoor", "NodeNotReady"}, [1, 2],
     "systemctl stop cassandra", "systemctl start cassandra"),
    ("no lmtp node runs, and mail waits", {"DoorPartly", "PostfixQueueGrows"}, [0, 1, 2], "systemctl stop signet-lmtp", "systemctl start signet-lmtp; postqueue -f"),
    ("Prometheus and the Alertmanager are given what they cannot read, and a rule that fails", {"ConfigurationRefused"}, [0],
     "cp /etc/prometheus/alertmanager.yml /var/tmp; echo '{' >>/etc/prometheus/alertmanager.yml; systemctl reload prometheus-alertmanager",
     "cp /var/tmp/alertmanager.yml /etc/prometheus; systemctl reload prometheus-alertmanager"),
    ("a rule cannot be evaluated", {"PrometheusRulesFailing"}, [0],
     f"echo '{{groups: [{{name: fault, rules: [{{record: fault, expr: up + on () up}}]}}]}}' >{RULES}/fault.yml; systemctl reload prometheus",
     f"rm {RULES}/fault.yml; systemctl reload prometheus"),
    ("nobody can be told", {"AlertmanagerFailing"}, [0],
     "cp /etc/prometheus/alertmanager.yml /var/tmp; sed -i 's|^- name: operators|- name: operators\\n  webhook_configs: [{url: \"http://127.0.0.1:9/\"}]|' "
     "/etc/prometheus/alertmanager.yml; systemctl reload prometheus-alertmanager; systemd-run --quiet --unit=broken --remain-after-exit false",
     "cp /var/tmp/alertmanager.yml /etc/prometheus; systemctl reload prometheus-alertmanager; systemctl reset-failed broken"),
    ("the last backup is of the day before yesterday", {"BackupOld"}, [0, 1, 2],
     f"echo signet_backup_timestamp_seconds $(date -d '-2 days' +%s) >{MEASURED}/backup.prom", f"rm {MEASURED}/backup.prom"),
    ("there is no backup, and the probe does not run", {"BackupMissing", "ProbeSilent"}, [0], "systemctl stop signet-probe.timer", "systemctl start signet-probe.timer"),
]


def tell(story: Story, platform: Platform, hosts: Hosts) -> None:
    first = hosts.all[0]
    first.run(f"cp -r {RULES} /var/tmp/rules && sed -i -E 's/^( +for:) .*/\\1 0s/; s/\\[(5|10|15)m\\]/[1m]/' {RULES}/*.yml && systemctl reload prometheus")
    seen: set[str] = set()
    for sentence, expected, struck, done, undone in FAULTS:
        with story.step(f"{sentence}: {', '.join(sorted(expected))}"):
            try:
                for number in struck:
                    hosts.all[number].run(done)
                wait_until("they are raised", lambda: raised(platform, hosts, expected), RAISED)
            finally:
                seen |= alerts(first)
                for number in struck:
                    hosts.all[number].ssh(undone)
            wait_until("all is well again", lambda: platform.play("status.yml").code == 0, 300)
    with story.step("a host is lost: HostDown"):
        hosts.all[2].stop()
        wait_until("it is raised", lambda: "HostDown" in alerts(first), RAISED)
        seen |= alerts(first)
        hosts.all[2].start()
        wait_until("all is well again", lambda: platform.play("status.yml").code == 0, 300)
    print(f"# alerts that were raised: {' '.join(sorted(seen))}", flush=True)
    first.run(f"rm -r {RULES} && mv /var/tmp/rules {RULES} && systemctl reload prometheus")


def raised(platform: Platform, hosts: Hosts, expected: set[str]) -> bool:
    """Whether all of them are, while somebody goes on calling and, where it is meant to wait, sending."""
    host = hosts.all[0]
    client = platform.client(host)
    for _ in range(5):
        client.call("POST", "/v1/session", {"address": ANNA, "password": "wrong"})
    if "PostfixQueueGrows" in expected:
        with platform.smtp(host) as session:
            for _ in range(60):
                session.sendmail(single.SENDER, [ANNA], single.message(f"It waits {time.monotonic_ns()}"))
    return expected <= alerts(host)
