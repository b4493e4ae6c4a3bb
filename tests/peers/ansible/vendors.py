"""What vendors offer: archives that are got by a URL, with their checksums, and a repository of packages, signed with a key. Their
content is that of the local archives; the packages of RabbitMQ and Redis are Debian's, under a version of the vendor's own."""

import hashlib
import pathlib
import re
import shutil
import subprocess
import tarfile
from email.utils import formatdate

from hosts import HERE, PACKAGES_PORT, Host, Hosts, run

# Of a repository that has one only.
SUITE = "./"
CONTROL = """\
Package: {name}
Version: {version}
Architecture: all
Maintainer: The vendor <vendor@example.org>
Depends: openjdk-17-jre-headless
Description: {name}, as its vendor packs it
"""
# What tells that something is the vendor's, the end of a version or a file in an archive; and that it is somebody else's.
MARK, FORGED = "vendor1", "vendor2"
# A version that is newer than what is asked for.
TOO_NEW = "99.0"


class Vendors:
    """Served to the hosts by the name that they get Debian's packages by."""

    def __init__(self, hosts: Hosts, settings: dict):
        self.place, self.address = hosts.home / "vendors", f"http://{HERE}:{PACKAGES_PORT}/vendors"
        self.packages, self.forged, self.keys = self.place / "packages", self.place / "forged", hosts.home / "keys"
        for directory in (self.packages, self.forged, self.keys):
            directory.mkdir(parents=True)
        self.settings = settings

    def by_url(self, server: str) -> dict:
        """Settings of a host that gets it by a URL."""
        local = pathlib.Path(self.settings[f"{server}_archive"])
        archive = self.place / local.name
        shutil.copy(local, archive)
        with tarfile.open(archive, "a") as opened:
            opened.addfile(tarfile.TarInfo(f"{opened.getnames()[0].partition('/')[0]}/{MARK}"))
        (self.place / f"{archive.name}.sha512").write_text(f"{hashlib.sha512(archive.read_bytes()).hexdigest()}  {archive.name}\n")
        return {f"{server}_archive": f"{self.address}/{archive.name}"}

    def by_repository(self, server: str) -> dict:
        """Settings of a host that gets it from the repository."""
        return {f"{server}_repository": [f"{self.address}/packages {SUITE}"], f"{server}_repository_key": str(self.keys / "vendor.asc")}

    def by_packages(self, server: str, *names: str, are_got: bool) -> dict:
        """Settings of a host that is given packages, or gets them by URLs."""
        files = [next(self.packages.glob(f"{name}_*{MARK}_*.deb")) for name in names]
        if are_got:
            digests = {file: f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files}
            return {f"{server}_packages": [{"file": f"{self.address}/packages/{file.name}", "checksum": digests[file]} for file in files]}
        return {f"{server}_packages": [{"file": str(file)} for file in files]}

    def pack(self, server: str, version: str, configuration: str) -> None:
        """A package with what the archive has and a configuration that is not ours; and a newer one with nothing."""
        for each, archive in ((version, self.settings[f"{server}_archive"]), (TOO_NEW, None)):
            tree = self.place / "tree"
            home, etc = tree / "usr/share" / server, tree / "etc" / server
            for directory in (home, etc, tree / "DEBIAN"):
                directory.mkdir(parents=True)
            if archive:
                run("tar", "--extract", "--strip-components=1", "--file", archive, "--directory", home)
            (etc / configuration).write_text("vendor: of no use\n")
            (tree / "DEBIAN/control").write_text(CONTROL.format(name=server, version=each))
            (tree / "DEBIAN/conffiles").write_text(f"/etc/{server}/{configuration}\n")
            self.build(tree, self.packages)

    def take(self, host: Host, *packages: str) -> None:
        """Debian's, as that host gets them, with the vendor's version."""
        host.run(f"mkdir /srv/taken && cd /srv/taken && apt-get -o APT::Sandbox::User=root download {' '.join(packages)}")
        for file in (host.root / "srv/taken").iterdir():
            for mark, target in ((MARK, self.packages), (FORGED, self.forged)):
                tree = self.place / "tree"
                run("dpkg-deb", "--raw-extract", file, tree)
                control = tree / "DEBIAN/control"
                version = re.search(r"(?m)^Version: (.*)$", control.read_text())[1]
                control.write_text(control.read_text().replace(version, f"{version}+{mark}"))
                self.build(tree, target)
        host.run("rm -r /srv/taken")

    def build(self, tree: pathlib.Path, target: pathlib.Path) -> None:
        # What is in the archives is for nobody but who made them.
        run("chmod", "--recursive", "u=rwX,go=rX", *(each for each in tree.iterdir() if each.name != "DEBIAN"))
        run("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, target)
        shutil.rmtree(tree)

    def publish(self) -> None:
        """Makes repositories of the packages: one that is signed with the vendor's key, and one with another."""
        for directory, name in ((self.packages, "vendor"), (self.forged, "other")):
            listed = run("dpkg-scanpackages", "--multiversion", ".", cwd=directory)
            (directory / "Packages").write_text(listed)
            digest = f" {hashlib.sha256(listed.encode()).hexdigest()} {len(listed.encode())} Packages\n"
            release = self.keys / "Release"
            release.write_text(f"Suite: {SUITE}\nDate: {formatdate(usegmt=True)}\nSHA256:\n{digest}")
            home = self.keys / name
            home.mkdir(mode=0o700)
            gpg = ["gpg", "--homedir", home, "--batch", "--passphrase", ""]
            run(*gpg, "--quick-generate-key", f"{name}@example.org", "ed25519", "sign", "1d")
            (self.keys / f"{name}.asc").write_text(run(*gpg, "--armor", "--export"))
            run(*gpg, "--clear-sign", "--output", directory / "InRelease", release)
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], capture_output=True)
