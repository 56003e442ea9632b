"""Servers of a test's own, with cvx preloaded: to stop, crash, kill, copy and promote.

The programs are those of CVX_PG_BIN, or of the first pg_ctl on the PATH. A server has no TCP port unless it is given one.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

# Processes are killed here, machines are not: the operating system keeps what was written.
SETTINGS = {
    "shared_preload_libraries": "cvx",
    "listen_addresses": "",
    "fsync": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "1GB",
    "max_worker_processes": "16",
    "max_connections": "60",
    "log_line_prefix": "%m [%p] %b %e ",
    "timezone": "UTC",
}
WORKERS = "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'cvx %' ORDER BY pid"
# What no log may hold, whatever was done to the server; kills that a test itself did are taken away first.
FAULTS = re.compile(r"terminated by signal|PANIC:|still waiting for backend|panicked at| XX000 (?:ERROR|FATAL)")


def until(condition, seconds: float = 20, what: str = "", every: float = 0.05):
    """The first true value of `condition()`; an AssertionError when there was none for so long.

    A condition that cannot be asked, since the server is starting or stopping, is not met yet.
    """
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except psycopg.OperationalError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}; last: {last!r}")
        time.sleep(every)


def bindir() -> Path:
    given = os.environ.get("CVX_PG_BIN")
    return Path(given) if given else Path(shutil.which("pg_ctl")).parent


def account() -> pwd.struct_passwd:
    """Who runs the server: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    if "CVX_SERVER_LOG" in os.environ:
        return pwd.getpwuid(os.stat(os.environ["CVX_SERVER_LOG"]).st_uid)
    return pwd.getpwnam(os.environ.get("CVX_RUN_AS", "postgres"))


def as_server(*command, timeout: float = 120, check: bool = True, env: dict | None = None):
    """Runs one of the server's programs under its account. Its output goes to a file, not a pipe: a server that it
    starts would keep a pipe open."""
    prefix = [shutil.which("runuser"), "-u", account().pw_name, "--"] if os.geteuid() == 0 else []
    clean = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/", **(env or {})}
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            [*prefix, *map(str, command)],
            cwd="/",
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=timeout,
        )
        output.seek(0)
        text = output.read().decode(errors="replace")
    assert not check or done.returncode == 0, f"{command[0]} ended with {done.returncode}: {text[-2000:]}"
    return done.returncode, text


class Cluster:
    """A server. `settings` go over SETTINGS; `env` is the environment of the server process."""

    def __init__(self, settings: dict | None = None, env: dict | None = None, start: bool = True):
        self._prepare()
        self.env = env or {}
        self.killed = 0
        self.port = int((settings or {}).get("port", 5432))
        options = ["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C.UTF-8"]
        as_server(bindir() / "initdb", "-D", self.data, *options)
        self.configure({**SETTINGS, "unix_socket_directories": str(self.folder), **(settings or {})})
        if start:
            self.start()

    def _prepare(self):
        self.folder = Path(tempfile.mkdtemp(prefix="cvx."))
        os.chown(self.folder, account().pw_uid, account().pw_gid)
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.log_file = self.folder / "log"
        self.host = str(self.folder)

    @classmethod
    def standby_of(cls, primary: "Cluster", settings: dict | None = None) -> "Cluster":
        """A base backup that follows the primary, running."""
        new = cls.__new__(cls)
        new._prepare()
        new.env, new.killed, new.port = primary.env, 0, primary.port
        source = f"host={primary.host} port={primary.port} user=postgres"
        as_server(bindir() / "pg_basebackup", "-D", new.data, "-R", "-c", "fast", "--no-sync", "-d", source)
        new.configure({"unix_socket_directories": str(new.folder), **(settings or {})})
        new.start()
        return new

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def configure(self, settings: dict):
        """Appends to postgresql.conf; takes effect at the next start or reload."""
        quoted = [f"{name} = '{str(value).replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items()]
        path = self.data / "postgresql.conf"
        with path.open("a") as conf:
            conf.writelines(quoted)

    def _pg_ctl(self, *arguments, **options):
        return as_server(bindir() / "pg_ctl", "-D", self.data, "-s", *arguments, **options)

    def start(self, timeout: int = 60):
        try:
            self._pg_ctl("-l", self.log_file, "-w", "-t", timeout, "start", env=self.env)
        except AssertionError as error:
            raise AssertionError(f"{error}; its log ends with: {self.log()[-3000:]}") from None

    def stop(self, mode: str = "fast", timeout: int = 60) -> float:
        """Seconds that it took."""
        started = time.monotonic()
        self._pg_ctl("-m", mode, "-w", "-t", timeout, "stop")
        return time.monotonic() - started

    def crash(self):
        """No shutdown checkpoint: the next start recovers."""
        self.stop("immediate")

    def restart(self, mode: str = "fast") -> float:
        """Seconds that the stop took."""
        took = self.stop(mode)
        self.start()
        return took

    def reload(self):
        self._pg_ctl("reload")

    def promote(self):
        self._pg_ctl("-w", "promote")

    def is_running(self) -> bool:
        return self._pg_ctl("status", check=False)[0] == 0

    def is_ready(self) -> bool:
        """Whether it takes connections: not while it recovers."""
        with self.connect() as conn:
            return conn.execute("SELECT true").fetchone()[0]

    def postmaster(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def kill(self, pid: int):
        """kill -9 of one of its processes, unless that has just ended."""
        try:
            os.kill(pid, signal.SIGKILL)
            self.killed += 1
        except ProcessLookupError:
            pass

    def kill_postmaster(self, patience: float = 10) -> float:
        """kill -9. Seconds until all of the server's processes have ended, which they do by themselves: a backend that
        computes does so when it waits for something the next time."""
        pid, started = self.postmaster(), time.monotonic()
        os.kill(pid, signal.SIGKILL)
        until(lambda: not self.processes(), patience, "all processes have ended")
        took = time.monotonic() - started
        # Where init is slow to wait for it, the dead process has its number still, and a new one would take it for alive.
        for _ in range(20):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return took
            time.sleep(0.05)
        (self.data / "postmaster.pid").unlink()
        (self.folder / f".s.PGSQL.{self.port}.lock").unlink()
        return took

    def remove(self):
        if (self.data / "postmaster.pid").exists():
            self._pg_ctl("-m", "immediate", "stop", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self, dbname: str = "postgres", user: str = "postgres", **options) -> psycopg.Connection:
        options.setdefault("autocommit", True)
        # Nothing here takes so long: a test that waits for ever tells nobody why.
        options.setdefault("options", "-c statement_timeout=60s")
        return psycopg.connect(host=self.host, port=self.port, dbname=dbname, user=user, **options)

    def run(self, program: str, *arguments, **options) -> str:
        """One of PostgreSQL's client programs, as the superuser of this server."""
        env = {"PGHOST": self.host, "PGUSER": "postgres", "PGPORT": str(self.port)}
        return as_server(bindir() / program, *arguments, env=env, **options)[1]

    def create_database(self, name: str, extension: bool = True):
        with self.connect() as conn:
            conn.execute(f'CREATE DATABASE "{name}"')
        if extension:
            with self.connect(name) as conn:
                conn.execute("SET client_min_messages = warning")
                conn.execute("CREATE EXTENSION cvx CASCADE")

    def workers(self, role: str = "%", database: str | None = None) -> list[int]:
        """Pids of cvx's processes, of one role and of one database if asked for."""
        query = """SELECT pid FROM pg_stat_activity WHERE backend_type LIKE %s AND coalesce(datname = %s, %s)"""
        with self.connect() as conn:
            found = conn.execute(query, (f"cvx {role}", database, database is None)).fetchall()
        return [pid for (pid,) in found]

    def processes(self) -> list[tuple[int, str]]:
        """Pid and title of the server's processes as the operating system sees them, whatever state the server is in."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if os.readlink(folder / "cwd") != str(self.data):
                    continue
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            if title:
                found.append((int(folder.name), title))
        return found

    def log(self, since: int = 0) -> str:
        """What it has logged, from a byte on."""
        with self.log_file.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def log_size(self) -> int:
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def faults(self, since: int = 0) -> list[str]:
        """Lines of the log that no log may hold. Processes that this test killed are not the server's fault."""
        own = self.killed
        found = []
        for line in self.log(since).splitlines():
            if not FAULTS.search(line):
                continue
            if own and "was terminated by signal 9" in line:
                own -= 1
                continue
            found.append(line)
        return found
