"""One host: from fresh to mail that is read, and what an operator does then."""

import re

import choices
import monitoring
from hosts import Host, Hosts
from playbooks import ALONE, DOMAIN, Platform
from signet import PASSWORD, Story, wait_until
from steps import ANNA, CLARA, ELSEWHERE, SENDER, UNKNOWN, everything, message, the_host_is_closed, the_platform_is_made, they_are_refused, verdicts_are_ours

REQUIRED = ["signet_backend", "signet_package", "mail_hostname", "mail_domains", "private_address", "authority_passphrase"]
# Each variable with what it cannot be.
WRONG = [
    ("signet_backend", "other"),
    ("signet_package", ""),
    ("signet_package", "/nowhere/signet.deb"),
    ("signet_checksum", "sha512"),
    ("mail_hostname", "mail"),
    ("mail_domains", []),
    ("mail_domains", ["example"]),
    ("private_address", "mail1"),
    ("private_address", "10.97.0.256"),
    ("postmaster", "nobody"),
    ("message_bytes", 10),
    ("content_filter", "other"),
    ("api_hostname", "a b.example.org"),
    ("smtp_port", 0),
    ("api_port", 70000),
    ("api_port", 9090),
    ("virtual_addresses", ["192.0.2.10"]),
    ("virtual_addresses", ["192.0.2.10/33"]),
    ("virtual_interface", "eth 0"),
    ("virtual_router", 256),
    ("tls_certificate", "one.pem"),
    ("tls_certificate", "one.pem", {"tls_key": "/etc/hostname"}),
    ("tls_key", "/nowhere/key.pem", {"tls_certificate": "/etc/hostname"}),
    ("authority_directory", "here"),
    ("authority_passphrase", "short"),
    ("certificate_days", 10),
    ("certificate_renewal_days", 0),
    ("ssh_port", "x"),
    ("ssh_networks", ["everywhere"]),
    ("log_days", 0),
    ("automatic_updates", "perhaps"),
    ("signet_settings", ["a"]),
    ("prometheus_days", 0),
    ("alertmanager_settings", "a"),
    ("existing_prometheus", ["elsewhere"]),
    ("existing_prometheus_directory", "here"),
    ("grafana_prometheus", "here"),
    ("probe_smtp", "mail.example.org"),
    ("probe_api", "http://mail.example.org"),
    ("probe_account", "probe@example.net"),
    ("probe_password", "short"),
    ("backup_directory", "here"),
    ("backup_keys_directory", ""),
    ("backup_passphrase", ""),
    ("backup_days", -1),
    ("backup_keys_days", "a week"),
]


def tell(story: Story, platform: Platform, hosts: Hosts) -> None:
    host = hosts.add("mail1")
    platform.reach(hosts)
    the_platform_is_made(story, platform, hosts)
    host.run(f"{ALONE} account create {ANNA} --password-stdin", PASSWORD + "\n")
    mail_comes_in(story, platform, host)
    signet_is_away(story, platform, host)
    the_host_is_closed(story, host)
    monitoring.tell(story, platform, hosts)
    wrong_variables_are_named(story, platform)
    with story.step("what changed in a run that was cut short takes effect with the next one, and only then"):
        started = [host.run("systemctl show --property=ExecMainStartTimestampMonotonic signet-all")]
        host.run("touch /etc/signet/signet.toml")
        for _ in range(2):
            platform.play("site.yml", "--tags", "signet").must_pass()
            started.append(host.run("systemctl show --property=ExecMainStartTimestampMonotonic signet-all"))
        assert started[0] != started[1] == started[2], started
    other_playbooks_serve_it(story, platform, host)
    choices.tell(story, platform, hosts)
    with story.step("the package that is removed leaves no process, and the data and the keys, with which all is there again"):
        host.run("apt-get -y purge signet")
        assert host.ssh("pgrep -x signet").returncode == 1, "it still runs"
        platform.play("site.yml").must_pass()
        client = platform.client(host).log_in(ANNA)
        client.raw(client.wait_for_subject("First mail")["id"])


def other_playbooks_serve_it(story: Story, platform: Platform, host: Host) -> None:
    with story.step("status.yml finds all well, and not when something does not run that should"):
        platform.play("status.yml").must_pass()
        host.run("systemctl stop rspamd")
        run = platform.play("status.yml")
        assert run.code != 0 and "rspamd" in run.failures(), run.output[-2000:]
        host.run("systemctl start rspamd")
    with story.step("rotate-keys.yml begins an epoch"):
        before = host.run("cat /etc/signet/keys/*.epochs")
        platform.play("rotate-keys.yml").must_pass()
        assert host.run("cat /etc/signet/keys/*.epochs") != before
    before = everything(platform, host)
    host.run(f"{ALONE} account create {CLARA} --password-stdin", PASSWORD + "\n")
    with story.step("backup.yml brings what is stored, and apart from it the keys, encrypted"):
        platform.play("backup.yml", backup="before").must_pass()
        (keys,) = (platform.home / ".backups-of-keys").iterdir()
        assert keys.read_text().startswith("$ANSIBLE_VAULT;")
        assert host.ssh("test -e /var/lib/signet/backup").returncode == 1
        host.run(f"{ALONE} account purge {CLARA} --yes")
        platform.play("backup.yml", "--tags", "keys").must_pass()
    with story.step("restore-keys.yml brings back keys that were lost"):
        known = host.run("sha256sum /etc/signet/keys/*")
        host.run("rm /etc/signet/keys/*")
        platform.play("restore-keys.yml").must_pass()
        assert host.run("sha256sum /etc/signet/keys/*") == known
        host.run("systemctl restart signet-all")
        client = platform.client(host).log_in(ANNA)
        client.raw(client.wait_for_subject("First mail")["id"])
    with story.step("restore.yml refuses a host that holds something, and leaves it as it is"):
        run = platform.play("restore.yml", backup="before")
        assert run.code != 0 and "holds something already" in run.output, run.output[-2000:]
        assert everything(platform, host).items() >= before.items()
    host.replace()
    with story.step("the host is lost, and restore.yml makes of a fresh one what the backup says"):
        platform.play("restore.yml", backup="before").must_pass()
        assert everything(platform, host) == before
        client = platform.client(host).log_in(ANNA)
        client.wait_until_indexed("subject:first", 1)
        client.ask("POST", "/v1/session", 401, {"address": CLARA, "password": PASSWORD})
        run = platform.play("site.yml").must_pass()
        assert set(run.changed.values()) == {0}, run.changes()
    with story.step("upgrade.yml changes nothing without a newer package"):
        run = platform.play("upgrade.yml").must_pass()
        assert set(run.changed.values()) == {0}, run.changes()


def mail_comes_in(story: Story, platform: Platform, host: Host) -> None:
    with story.step("a mail by SMTP to HAProxy is read through the API over TLS, byte for byte"):
        with platform.smtp(host) as session:
            assert session.sendmail(SENDER, [ANNA], message("First mail")) == {}
        client = platform.client(host).log_in(ANNA)
        head = client.wait_for_subject("First mail")
        # But for the verdict, which the filter puts at the end of the head.
        raw = re.sub(rb"(?im)^(x-spam-status|authentication-results):[^\n]*\n([ \t][^\n]*\n)*", b"", client.raw(head["id"]))
        assert raw.endswith(message("First mail")), raw
        client.wait_until_indexed("subject:first", 1)
    verdicts_are_ours(story, platform, host, client)
    with story.step("an unknown recipient is refused at RCPT, and so is one elsewhere"):
        with platform.smtp(host) as session:
            session.mail(SENDER)
            assert session.rcpt(UNKNOWN)[0] == 550
            assert session.rcpt(ELSEWHERE)[0] == 554


def signet_is_away(story: Story, platform: Platform, host: Host) -> None:
    with story.step("with Signet stopped, mail to whom it knew waits, and who was never asked for is asked to come again"):
        host.run("systemctl stop signet-all")
        with platform.smtp(host) as session:
            assert session.sendmail(SENDER, [ANNA], message("While away")) == {}
            session.mail(SENDER)
            assert session.rcpt(f"somebody@{DOMAIN}")[0] == 450
        # Beside what the probe has sent meanwhile.
        waiting = host.run("postqueue -j")
        assert waiting.count(f'"address": "{ANNA}"') == 1, waiting
    with story.step("once it is back, that mail is there"):
        host.run("systemctl start signet-all")
        answered = lambda: platform.client(host).call("GET", "/v1/openapi.json").status == 200  # noqa: E731
        wait_until("the API is there again", answered, 60)
        host.run("postqueue -f")
        platform.client(host).log_in(ANNA).wait_for_subject("While away", 120)


def wrong_variables_are_named(story: Story, platform: Platform) -> None:
    they_are_refused(story, platform, WRONG)
    for name in REQUIRED:
        with platform.without(name):
            run = platform.play("site.yml")
        story.check(f"without {name} nothing is done, and it is named", run.refuses(name), run.output[-600:])
