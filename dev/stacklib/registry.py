"""The registry: a private MariaDB on a unix socket and on a loopback port with TLS."""

import os
import pwd
import secrets
import shutil
import subprocess

from .console import Failure, say
from .daemon import Daemon, run
from .settings import DATABASE, ROOT, require_free_port

USERS = ("lb", "backend")


class Registry:
    def __init__(self, settings):
        self.settings = settings
        self.dir = settings.mysql_dir
        self.data_dir = self.dir / "data"
        self.made = self.dir / "made"
        self.tls_dir = self.dir / "tls"
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.daemon = Daemon("mysql", settings.pid_dir / "mysql.pid",
                             settings.log_dir / "mysql.log",
                             ["mariadbd", f"--datadir={self.data_dir}"])

    def require_ports(self):
        if not self.daemon.pid():
            require_free_port(self.settings.mysql_port, "MYSQL_PORT", "MariaDB")

    def up(self):
        if self.daemon.pid() and self.made.exists():
            say("MariaDB: already running")
            return
        if not self.made.exists():
            self.daemon.stop()
            shutil.rmtree(self.dir)
            self.dir.mkdir()
            self._make_certificates()
            self._make_data()
            self._make_passwords()
        self.start()
        if not self.made.exists():
            self.sql((ROOT / "sql" / "schema.sql").read_text())
            for user in USERS:
                password = self.settings.password_file(user).read_text().strip()
                self.sql(f"ALTER USER '{user}'@'%' IDENTIFIED BY '{password}' ACCOUNT UNLOCK;")
            self.made.touch()
            say("MariaDB: schema and users made")

    def start(self):
        if self.daemon.pid():
            say("MariaDB: already running")
            return
        self.require_ports()
        self.daemon.start(self._argv(), self.settings.environment())
        self.daemon.wait_ready(self._answers, 60, "an answer")
        say(f"MariaDB: listening on 127.0.0.1:{self.settings.mysql_port} and {self.settings.mysql_socket}")

    def stop(self):
        self.daemon.stop(30)

    def sql(self, text):
        """Runs statements as the database's root, which is whoever runs the stack."""
        run(self._client_argv(), self.settings.environment(), "the schema's SQL",
            self.settings.log_dir / "mysql-client.out", input_text=text)

    def _client_argv(self):
        return ["mariadb", "--no-defaults", f"--socket={self.settings.mysql_socket}",
                f"--user={self.user}", "--batch"]

    def _answers(self):
        result = subprocess.run([*self._client_argv(), "-e", "SELECT 1"], check=False,
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, timeout=20)
        return result.returncode == 0

    def _argv(self):
        return [
            "mariadbd", "--no-defaults",
            f"--datadir={self.data_dir}", f"--user={self.user}",
            f"--socket={self.settings.mysql_socket}",
            f"--pid-file={self.dir / 'mysqld.pid'}", f"--tmpdir={self.dir}",
            "--bind-address=127.0.0.1", f"--port={self.settings.mysql_port}",
            f"--ssl-ca={self.tls_dir / 'ca.pem'}", f"--ssl-cert={self.tls_dir / 'server.pem'}",
            f"--ssl-key={self.tls_dir / 'server.key'}",
            # Host names of clients are never needed here, and looking one up can take long.
            "--skip-name-resolve", "--performance-schema=OFF", "--innodb-buffer-pool-size=32M",
            # The log is kept small, and a commit need not wait for the disk: a machine that
            # loses its power loses a second of announcements, which are repeated each second.
            "--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=2",
            "--max-connections=200",
        ]

    def _make_data(self):
        # The account is named after the system's user, who is let in over the socket alone.
        run(["mariadb-install-db", "--no-defaults", f"--datadir={self.data_dir}",
             f"--user={self.user}", "--skip-test-db", "--skip-name-resolve",
             # A container may know no host name at all, not even "localhost"; nothing here needs one.
             "--force",
             "--innodb-log-file-size=16M", "--innodb-buffer-pool-size=32M",
             "--auth-root-authentication-method=socket", f"--auth-root-socket-user={self.user}"],
            self.settings.environment(), "making the database's files",
            self.settings.log_dir / "mysql.log")

    def _make_passwords(self):
        for user in USERS:
            path = self.settings.password_file(user)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(24) + "\n")

    def _make_certificates(self):
        """An authority of our own and a certificate of the server, as a real installation has."""
        self.tls_dir.mkdir()
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        log = self.settings.log_dir / "openssl.out"
        environment = self.settings.environment()
        os.close(os.open(self.tls_dir / "ca.key", os.O_WRONLY | os.O_CREAT, 0o600))
        os.close(os.open(self.tls_dir / "server.key", os.O_WRONLY | os.O_CREAT, 0o600))
        run(["openssl", "req", "-x509", *curve, "-days", "3650", "-subj", "/CN=ceph-lb stack",
             "-keyout", self.tls_dir / "ca.key", "-out", self.tls_dir / "ca.pem"],
            environment, "making a certificate authority", log)
        run(["openssl", "req", *curve, "-subj", "/CN=localhost",
             "-keyout", self.tls_dir / "server.key", "-out", self.tls_dir / "server.csr"],
            environment, "asking for a certificate", log)
        extensions = self.tls_dir / "server.ext"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        run(["openssl", "x509", "-req", "-days", "3650", "-in", self.tls_dir / "server.csr",
             "-CA", self.tls_dir / "ca.pem", "-CAkey", self.tls_dir / "ca.key",
             "-CAcreateserial", "-extfile", extensions, "-out", self.tls_dir / "server.pem"],
            environment, "signing the server's certificate", log)
