"""What an operator may choose otherwise, on one host: a run of site.yml brings it, and another one takes it back."""

import socket
import ssl

from hosts import BRIDGE, HERE, NETWORK, Host, Hosts, run
from playbooks import ALONE, DOMAIN, Platform, Session, TlsClient
from signet import PASSWORD, Story
from steps import ANNA, SENDER, message, open_ports, verdicts_are_ours

ANOTHER_DOMAIN = "example.com"
CARLO = f"carlo@{ANOTHER_DOMAIN}"
SSH, SMTP, API = 2222, 2525, 8443
STRANGER = f"{NETWORK}.2"
CHOSEN = {
    "ssh_port": SSH,
    "ssh_networks": [f"{HERE}/32"],
    "smtp_port": SMTP,
    "api_port": API,
    "mail_domains": [DOMAIN, ANOTHER_DOMAIN],
    "postmaster": ANNA,
    "content_filter": "none",
    "log_days": 3,
    "automatic_updates": True,
}


def tell(story: Story, platform: Platform, hosts: Hosts) -> None:
    host, before = hosts.all[0], dict(platform.settings)
    certificate, key = platform.home / "world.crt", platform.home / "world.key"
    names = f"subjectAltName=DNS:mail.{DOMAIN},IP:{host.address}"
    issue = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30"
    run(*issue.split(), "-subj", "/CN=world", "-addext", names, "-keyout", key, "-out", certificate)
    with story.step("one run brings what an operator chooses, and the next one changes nothing"):
        host.run(f"printf 'Port 22\\nPort {SSH}\\n' >/etc/ssh/sshd_config.d/ports.conf && systemctl reload ssh")
        platform.set(**CHOSEN, tls_certificate=str(certificate), tls_key=str(key))
        platform.play("site.yml").must_pass()
        hosts.use_port(SSH)
        again = platform.play("site.yml").must_pass()
        assert set(again.changed.values()) == {0}, again.changes()
    with story.step("the ports that were chosen are reached, no others, and ssh not from everywhere"):
        assert open_ports(host) == [SSH, SMTP, API], open_ports(host)
        run("ip", "address", "add", f"{STRANGER}/24", "dev", BRIDGE)
        assert answers(host, API, STRANGER) and not answers(host, SSH, STRANGER)
        run("ip", "address", "delete", f"{STRANGER}/24", "dev", BRIDGE)
    trust = ssl.create_default_context(cafile=str(certificate))
    client = TlsClient(host.address, trust, API)
    with story.step("SMTP and the API show the certificate that was named, and mail for each domain and for postmaster is read"):
        host.run(f"{ALONE} account create {CARLO} --password-stdin", PASSWORD + "\n")
        for recipient, subject in ((CARLO, "Another domain"), (f"postmaster@mail.{DOMAIN}", "For the postmaster")):
            with Session(host.address, SMTP, local_hostname="outside.example.net", timeout=60) as session:
                session.starttls(context=trust)
                session.ehlo()
                assert session.sendmail(SENDER, [recipient], b"X-Spam-Status: No\r\n" + message(subject)) == {}
        client.log_in(ANNA).wait_for_subject("For the postmaster")
        head = client.log_in(CARLO).wait_for_subject("Another domain")
    with story.step("without a filter there is no verdict, the sender's neither"):
        assert host.ssh("systemctl is-active rspamd").stdout.strip() == "inactive"
        assert b"x-spam" not in client.raw(head["id"]).lower()
    with story.step("the log is kept for as long as was chosen, and security updates are installed by themselves"):
        assert "\nMaxRetentionSec=3day\n" in host.run("systemd-analyze cat-config systemd/journald.conf")
        assert host.run("apt-config shell CHOSEN APT::Periodic::Unattended-Upgrade").strip() == "CHOSEN='1'"
        host.run("systemctl is-active apt-daily.timer apt-daily-upgrade.timer && unattended-upgrade --dry-run")
    with story.step("what was chosen is taken back"):
        platform.settings = before
        platform.set()
        platform.play("site.yml").must_pass()
        hosts.use_port(22)
        assert open_ports(host) == [22, 25, 443], open_ports(host)
        verdicts_are_ours(story, platform, host, platform.client(host).log_in(ANNA))


def answers(host: Host, port: int, source: str) -> bool:
    """Whether a port answers who calls from there."""
    try:
        socket.create_connection((host.address, port), 3, (source, 0)).close()
        return True
    except TimeoutError:
        return False
