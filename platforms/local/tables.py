"""The tables of the config store's file: their format, how older ones are brought to it, and every SQL statement.

Plain functions over a connection; transactions, threads and watches are the business of `platforms.local.database`.
Documents and changes are stored as MessagePack of `Document` and `Revised`: fields that join later have defaults.
"""

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from core.diagnostics import Diagnostic, Reported, judged
from core.errors import Expired, Misconfigured
from core.model.commit import Retention
from core.model.config import ConfigKey, Document, Revised, Snapshot, uid_of
from core.model.labels import Labels
from platforms.local.seed import Seed

FORMAT: Final = 3
_DOCUMENTS: Final = """
CREATE TABLE document (
    grp TEXT, kind TEXT, namespace TEXT, name TEXT, body BLOB NOT NULL,
    PRIMARY KEY (grp, kind, namespace, name)
);
CREATE TABLE change (
    revision INTEGER PRIMARY KEY, grp TEXT, kind TEXT, namespace TEXT, name TEXT,
    at REAL NOT NULL, bytes INTEGER NOT NULL, body BLOB NOT NULL, nth INTEGER, findings TEXT
);
CREATE INDEX change_nth ON change (nth);
CREATE INDEX change_of ON change (grp, kind, namespace, name, revision);
"""
_BESIDE: Final = """
CREATE TABLE status (
    grp TEXT, kind TEXT, namespace TEXT, name TEXT, findings TEXT NOT NULL, revision INTEGER NOT NULL,
    PRIMARY KEY (grp, kind, namespace, name)
) WITHOUT ROWID;
CREATE INDEX status_since ON status (revision);
CREATE TABLE seed (
    grp TEXT, kind TEXT, namespace TEXT, name TEXT, digest TEXT NOT NULL, revision TEXT NOT NULL,
    PRIMARY KEY (grp, kind, namespace, name)
) WITHOUT ROWID;
CREATE TABLE counter (value INTEGER NOT NULL, floor INTEGER NOT NULL);
INSERT INTO counter VALUES (0, 0);
"""
_KEY: Final = "grp = ? AND kind = ? AND namespace = ? AND name = ?"
_COLUMNS: Final = ("grp", "kind", "namespace", "name")
_ORDER: Final = "ORDER BY grp, kind, namespace, name"

_pack = msgspec.msgpack.Encoder().encode
_document = msgspec.msgpack.Decoder(Document).decode
_revised = msgspec.msgpack.Decoder(Revised).decode
_findings = msgspec.json.Decoder(tuple[Diagnostic, ...]).decode
_NOTHING: Final = "[]"


def prepare(sql: sqlite3.Connection, path: Path) -> None:
    """Makes the tables, or brings those of an older format to this one. Raises `Misconfigured` for a newer one."""
    if _format(sql) == FORMAT:
        return
    sql.execute("BEGIN IMMEDIATE")
    found = _format(sql)  # another process may have been faster
    if found == 0:
        _run(sql, _DOCUMENTS + _BESIDE)
    elif found == 1:
        _from_1(sql)
        _status_from_2(sql)
    elif found == 2:
        _run(sql, _CHANGES_FROM_2)
        _status_from_2(sql)
    elif found != FORMAT:
        sql.execute("ROLLBACK")
        fix = "use the version of istioctl that wrote it, or another state directory"
        raise Misconfigured(f"{path} has the format {found}, this program knows {FORMAT}", fix=fix)
    sql.execute(f"PRAGMA user_version = {FORMAT}")
    sql.execute("COMMIT")


def get(sql: sqlite3.Connection, key: ConfigKey) -> Document | None:
    row = sql.execute(f"SELECT body FROM document WHERE {_KEY}", _row(key)).fetchone()
    return _document(row[0]) if row else None


def snapshot(sql: sqlite3.Connection, pattern: tuple[str, ...] = ()) -> Snapshot:
    """The documents of a group, kind and namespace; "" stands for all."""
    where, values = _matching(pattern)
    rows = sql.execute(f"SELECT body FROM document WHERE {where} {_ORDER}", values)
    return Snapshot(tuple(_document(body) for (body,) in rows), str(last(sql)))


def last(sql: sqlite3.Connection) -> int:
    """The number of the newest revision; 0 before the first."""
    return int(sql.execute("SELECT value FROM counter").fetchone()[0])


def floor(sql: sqlite3.Connection) -> int:
    """After which revision every change is remembered."""
    return int(sql.execute("SELECT floor FROM counter").fetchone()[0])


def remembers(sql: sqlite3.Connection, revision: int) -> bool:
    """Whether every change after `revision` is remembered."""
    return floor(sql) <= revision <= last(sql)


def after(sql: sqlite3.Connection, revision: int, *, limit: int = -1) -> tuple[Revised | Reported, ...]:
    """What followed `revision`, at most `limit` of it. Raises `Expired` as `VersionedStore.changes`."""
    if not remembers(sql, revision):
        fix = "list again, and go on from the revision of the list"
        raise Expired(f"revision {revision} is not remembered", fix=fix)
    query = "SELECT body FROM change WHERE revision > ? ORDER BY revision LIMIT ?"
    changes: list[Revised | Reported] = [_revised(body) for (body,) in sql.execute(query, (revision, limit))]
    query = "SELECT * FROM status WHERE revision > ? ORDER BY revision LIMIT ?"
    reports = [_reported(row) for row in sql.execute(query, (revision, limit))]
    events = sorted((*changes, *reports), key=_number) if reports else changes
    return tuple(events[:limit] if limit >= 0 else events)


def reported(sql: sqlite3.Connection, pattern: tuple[str, ...]) -> tuple[Reported, ...]:
    """The newest reports about the documents of a group, kind, namespace and name; "" stands for all."""
    where, values = _matching(pattern)
    return tuple(_reported(row) for row in sql.execute(f"SELECT * FROM status WHERE {where} {_ORDER}", values))


def verdicts(sql: sqlite3.Connection, key: ConfigKey) -> dict[str, tuple[Diagnostic, ...]]:
    """As `VersionedStore.judged`."""
    query = f"SELECT revision, findings FROM change WHERE {_KEY} AND findings IS NOT NULL"
    said = {str(revision): _findings(findings) for revision, findings in sql.execute(query, _row(key))}
    return judged(history(sql, key), said)


def history(sql: sqlite3.Connection, key: ConfigKey) -> tuple[Revised, ...]:
    query = f"SELECT body FROM change WHERE {_KEY} ORDER BY revision"
    return tuple(_revised(body) for (body,) in sql.execute(query, _row(key)))


def record(sql: sqlite3.Connection, changes: tuple[Revised, ...], retention: Retention) -> None:
    """Makes `changes` true, remembers them, and forgets what lies outside of the retention."""
    if not changes:
        return
    _append(sql, changes)
    for change in changes:
        _save(sql, change)
    sql.execute("UPDATE counter SET value = ?", (int(changes[-1].revision),))
    _forget(sql, retention, now=changes[-1].at)


def report(sql: sqlite3.Connection, key: ConfigKey, findings: str) -> None:
    """Findings that are there already cost no write: most of what is reported is."""
    if (status(sql, key) or _NOTHING) == findings or get(sql, key) is None:
        return
    revision = last(sql) + 1
    sql.execute("INSERT OR REPLACE INTO status VALUES (?, ?, ?, ?, ?, ?)", (*_row(key), findings, revision))
    newest = f"(SELECT max(revision) FROM change WHERE {_KEY})"
    sql.execute(f"UPDATE change SET findings = ? WHERE revision = {newest}", (findings, *_row(key)))
    sql.execute("UPDATE counter SET value = ?", (revision,))


def status(sql: sqlite3.Connection, key: ConfigKey) -> str:
    """The findings as they were reported; "" for none."""
    row = sql.execute(f"SELECT findings FROM status WHERE {_KEY}", _row(key)).fetchone()
    return str(row[0]) if row else ""


def seeds(sql: sqlite3.Connection) -> dict[ConfigKey, Seed]:
    return {ConfigKey(*row[:4]): Seed(digest=row[4], revision=row[5]) for row in sql.execute("SELECT * FROM seed")}


def remember(sql: sqlite3.Connection, key: ConfigKey, seed: Seed | None) -> None:
    """None forgets."""
    sql.execute(f"DELETE FROM seed WHERE {_KEY}", _row(key))
    if seed is not None:
        sql.execute("INSERT INTO seed VALUES (?, ?, ?, ?, ?, ?)", (*_row(key), seed.digest, seed.revision))


def _save(sql: sqlite3.Connection, change: Revised) -> None:
    key = _row(change.key)
    if change.document is not None:
        sql.execute("INSERT OR REPLACE INTO document VALUES (?, ?, ?, ?, ?)", (*key, _pack(change.document)))
    else:
        sql.execute(f"DELETE FROM document WHERE {_KEY}", key)
        sql.execute(f"DELETE FROM status WHERE {_KEY}", key)


def _append(sql: sqlite3.Connection, changes: tuple[Revised, ...]) -> None:
    """`bytes` is how much all changes so far have taken, `nth` how many they were: differences tell of the newest."""
    bytes_, nth = _newest(sql, "bytes"), _newest(sql, "nth")
    for count, change in enumerate(changes, nth + 1):
        body = _pack(change)
        bytes_ += len(body)
        values = (int(change.revision), *_row(change.key), change.at, bytes_, body, count)
        sql.execute("INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)", values)


def _forget(sql: sqlite3.Connection, retention: Retention, *, now: float) -> None:
    """Cuts at one place, so that what is remembered has no gap, whatever the clock did."""
    within = "SELECT nth FROM change WHERE at >= ? AND bytes - length(body) >= ? ORDER BY revision LIMIT 1"
    oldest = sql.execute(within, (now - retention.seconds, _newest(sql, "bytes") - retention.bytes)).fetchone()
    newest = _newest(sql, "nth")
    forgotten = max(newest - retention.changes, oldest[0] - 1 if oldest else newest - 1)
    (floor,) = sql.execute("SELECT max(revision) FROM change WHERE nth <= ?", (forgotten,)).fetchone()
    if floor is not None:
        sql.execute("DELETE FROM change WHERE revision <= ?", (floor,))
        sql.execute("UPDATE counter SET floor = max(floor, ?)", (floor,))


def _newest(sql: sqlite3.Connection, column: str) -> int:
    """Of the newest change that is remembered; 0 without one."""
    row = sql.execute(f"SELECT {column} FROM change ORDER BY revision DESC LIMIT 1").fetchone()
    return int(row[0]) if row else 0


def _number(event: Revised | Reported) -> int:
    return int(event.revision)


def _matching(pattern: tuple[str, ...]) -> tuple[str, list[str]]:
    """A condition, and the values in it."""
    wanted = [(f"{column} = ?", value) for column, value in zip(_COLUMNS, pattern, strict=False) if value]
    return " AND ".join(["TRUE", *(condition for condition, _ in wanted)]), [value for _, value in wanted]


def _reported(row: tuple[str, str, str, str, str, int]) -> Reported:
    return Reported(revision=str(row[5]), key=ConfigKey(*row[:4]), findings=_findings(row[4]))


def _row(key: ConfigKey) -> tuple[str, str, str, str]:
    return key.group, key.kind, key.namespace, key.name


def _format(sql: sqlite3.Connection) -> int:
    (found,) = sql.execute("PRAGMA user_version").fetchone()
    return int(found)


def _run(sql: sqlite3.Connection, script: str) -> None:
    """`executescript` would end the transaction."""
    for statement in script.split(";"):
        sql.execute(statement)


_CHANGES_FROM_2: Final = """
ALTER TABLE change ADD COLUMN nth INTEGER;
ALTER TABLE change ADD COLUMN findings TEXT;
UPDATE change SET nth = revision;
CREATE INDEX change_nth ON change (nth)
"""


def _status_from_2(sql: sqlite3.Connection) -> None:
    """Until the third format, a report had no revision; nobody follows from before 0, so none is missed."""
    _run(sql, "ALTER TABLE status ADD COLUMN revision INTEGER NOT NULL DEFAULT 0")
    _run(sql, "CREATE INDEX status_since ON status (revision)")


def _from_1(sql: sqlite3.Connection) -> None:
    """The first format had a column per field and no memory: what happened before is not remembered now either."""
    rows = sql.execute(f"SELECT * FROM document {_ORDER}").fetchall()
    sql.execute("DROP TABLE document")
    sql.execute("ALTER TABLE counter ADD COLUMN floor INTEGER NOT NULL DEFAULT 0")
    sql.execute("UPDATE counter SET floor = value")
    _run(sql, _DOCUMENTS)
    migrated = ((*row[:4], _pack(_of_1(row))) for row in rows)
    sql.executemany("INSERT INTO document VALUES (?, ?, ?, ?, ?)", migrated)


def _of_1(row: tuple[str, str, str, str, str, bytes, str, str, float, int, int, str]) -> Document:
    group, kind, namespace, name, version, spec, labels, annotations, created, revision, generation, source = row
    key = ConfigKey(group, kind, namespace, name)
    return Document(
        key=key,
        version=version,
        spec=spec,
        labels=_labels_of_1(labels),
        annotations=_labels_of_1(annotations),
        created=created,
        revision=str(revision),
        generation=generation,
        source=source,
        uid=uid_of(key, revision=str(revision), created=created),
    )


def _labels_of_1(text: str) -> Labels:
    return Labels.of(msgspec.json.decode(text, type=dict[str, str]))
