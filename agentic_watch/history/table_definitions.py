"""Definitions of the history's tables, views, indexes and triggers."""

from __future__ import annotations

from agentic_watch.history.columns import FINDING_COLUMNS

_DISPATCH_HISTORY = """
CREATE TABLE {name} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    root TEXT NOT NULL,
    workspace TEXT NOT NULL,
    repo TEXT NOT NULL,
    org TEXT NOT NULL,
    task TEXT NOT NULL,
    agent TEXT NOT NULL,
    model TEXT NOT NULL,
    branch TEXT NOT NULL,
    status TEXT NOT NULL,
    question TEXT NOT NULL,
    issue INTEGER NOT NULL,
    runs INTEGER NOT NULL,
    process_id TEXT NOT NULL,
    pr_url TEXT NOT NULL,
    started_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    committed_at TEXT NOT NULL,
    started_utc TEXT,
    updated_utc TEXT NOT NULL,
    duration_ms INTEGER,
    passed INTEGER,
    build_passed INTEGER,
    test_passed INTEGER,
    lint_passed INTEGER,
    files_changed INTEGER,
    insertions INTEGER,
    deletions INTEGER,
    findings_count INTEGER NOT NULL,
    report TEXT,
    host TEXT NOT NULL,
    commit_id TEXT,
    moved_to TEXT,
    session_id TEXT,
    head_commit TEXT,
    input_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_tokens INTEGER,
    output_tokens INTEGER,
    turns INTEGER,
    cost_microusd INTEGER,
    UNIQUE (root, workspace, runs, updated_utc)
) STRICT"""

FINDINGS = """
CREATE TABLE findings (
    id INTEGER PRIMARY KEY,
    dispatch_id INTEGER NOT NULL REFERENCES dispatch_history (id) ON DELETE CASCADE,
    tool TEXT,
    severity TEXT,
    category TEXT,
    file TEXT,
    line INTEGER,
    "column" INTEGER,
    code TEXT,
    rule_id TEXT,
    title TEXT,
    message TEXT
) STRICT"""

# Kept parts of a workspace's files: the end of each, from offset `kept_from` of its `bytes`, compressed by zlib. Not
# derived: they cannot be rebuilt.
KEPT_FILES = """
CREATE TABLE kept_files (
    dispatch_id INTEGER NOT NULL REFERENCES dispatch_history (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    kept_from INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (dispatch_id, name)
) STRICT"""

# The workspaces on disk. By `signature` (of status files and marker) a scan skips unchanged ones; `journal` is the
# journal's signature when the history held every line of it.
_WORKSPACES = """
CREATE TABLE workspaces (
    root TEXT NOT NULL,
    workspace TEXT NOT NULL,
    status TEXT,
    agent TEXT,
    pid INTEGER,
    updated_at TEXT,
    runs INTEGER,
    committed INTEGER NOT NULL DEFAULT 0,
    fail_count INTEGER NOT NULL DEFAULT 0,
    next_attempt_at REAL,
    last_error TEXT,
    ghost INTEGER NOT NULL DEFAULT 0,
    seen_at TEXT,
    question TEXT,
    repo TEXT,
    signature BLOB NOT NULL DEFAULT x'',
    journal BLOB NOT NULL DEFAULT x'',
    updated_utc TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (root, workspace)
) STRICT, WITHOUT ROWID"""

# Runs without a final status (open_runs_table.py). Observations of processes cannot be rebuilt.
OPEN_RUNS = (
    """
CREATE TABLE open_runs (
    root TEXT NOT NULL,
    workspace TEXT NOT NULL,
    pid INTEGER NOT NULL,
    updated_utc TEXT NOT NULL,
    runs INTEGER NOT NULL,
    said TEXT NOT NULL,
    dispatch TEXT NOT NULL,
    directory TEXT NOT NULL,
    boot TEXT NOT NULL,
    namespaces TEXT NOT NULL,
    began INTEGER,
    since REAL NOT NULL,
    gone INTEGER NOT NULL DEFAULT 0,
    recorded INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (root, workspace)
) STRICT, WITHOUT ROWID""",
    "CREATE INDEX open_runs_directory ON open_runs (directory)",
)

OPEN_WORKSPACES = "CREATE INDEX workspaces_open ON workspaces (root) WHERE (fail_count OR NOT committed)"

# `pruned_before` has the format of `updated_utc`: older lines and markers count as recorded.
ABOUT = (
    "CREATE TABLE about (history_id TEXT NOT NULL, pruned_before TEXT, created_at TEXT NOT NULL) STRICT",
    "CREATE UNIQUE INDEX about_one ON about ((1))",
)

# `rows` is the expected number of dispatches: a salvaged file has fewer. Findings and search are complete up to the id
# `searched_to`; `lost` names the damaged one (findings_and_search.py).
UPKEEP = (
    "CREATE TABLE upkeep (rows INTEGER NOT NULL, searched_to INTEGER NOT NULL, lost TEXT) STRICT",
    "INSERT INTO upkeep VALUES (0, 0, NULL)",
)

# One index search per root instead of a scan of all rows: the index of identities begins with the root.
_ROOTS = """
CREATE VIEW roots AS
WITH RECURSIVE found (root) AS (
    SELECT min(root) FROM dispatch_history
    UNION ALL
    SELECT (SELECT min(root) FROM dispatch_history WHERE root > found.root) FROM found WHERE found.root IS NOT NULL
)
SELECT root FROM found WHERE root IS NOT NULL"""

_DISPATCHES = """
CREATE VIEW dispatches AS
SELECT * FROM dispatch_history AS this
WHERE NOT EXISTS (
    SELECT 1 FROM dispatch_history AS newer
    WHERE newer.root = this.root AND newer.workspace = this.workspace AND newer.runs = this.runs
      AND newer.started_utc IS this.started_utc AND newer.updated_utc > this.updated_utc
)"""

_OF_DISPATCH = "workspace, repo, agent, branch, task, question, pr_url, session_id, head_commit"
SEARCH_COLUMNS = f"{_OF_DISPATCH}, issue, files, findings"
"""Searched columns; `issue` holds #42, `files` the paths of the report's `changes.files`, `findings` the texts of all
findings of a dispatch."""
_OF_FINDING = ("tool", "file", "code", "rule_id", "title", "message")

# The text is in the tables, and the index reads it from this view (FTS5 "external content"), which must not use virtual
# tables: a list of files is indexed as its JSON, whose punctuation separates words.
_SEARCH_TEXT = f"""
CREATE VIEW dispatch_text AS
SELECT id, {_OF_DISPATCH}, iif(issue = 0, '', '#' || issue) AS issue,
       iif(json_valid(report), json_extract(report, '$.changes.files'), NULL) AS files,
       (SELECT group_concat({" || ' ' || ".join(f"ifnull({name}, '')" for name in _OF_FINDING)}, char(10))
        FROM findings WHERE dispatch_id = dispatch_history.id) AS findings
FROM dispatch_history"""

# Punctuation separates words, in the index and in queries: "task-101" and "acme/billing" are phrases, "G304" is a word.
_WORDS = "tokenize = 'unicode61 remove_diacritics 2'"
SEARCH = f"""
CREATE VIRTUAL TABLE dispatch_search USING fts5 (
    {SEARCH_COLUMNS}, content = 'dispatch_text', content_rowid = 'id', {_WORDS}
)"""

SEARCH_PARTS = tuple(f"dispatch_search_{part}" for part in ("data", "idx", "docsize", "config"))
"""The tables of FTS5. https://sqlite.org/fts5.html#fts5_data_structures"""

INSERT_FINDING = (
    "INSERT INTO findings (dispatch_id, " + ", ".join(f'"{name}"' for name in FINDING_COLUMNS) + ") "
    f"VALUES ({', '.join('?' * (len(FINDING_COLUMNS) + 1))})"
)

ADD_TO_SEARCH = f"INSERT INTO dispatch_search (rowid, {SEARCH_COLUMNS}) SELECT id, {SEARCH_COLUMNS} FROM dispatch_text"
"""To be followed by a WHERE clause on `id`. Each dispatch may be added only once."""

WAITING_SEARCH = f"CREATE VIRTUAL TABLE temp.waiting_search USING fts5 ({SEARCH_COLUMNS}, content = '', {_WORDS})"
ADD_WAITING = (
    f"INSERT INTO temp.waiting_search (rowid, {SEARCH_COLUMNS}) SELECT id, {SEARCH_COLUMNS} FROM dispatch_text "
    "WHERE id > (SELECT searched_to FROM upkeep) ORDER BY id DESC LIMIT 1000"
)
"""Limit on waiting dispatches; there are more only while the index is rebuilt."""

# To delete an entry, FTS5 must be given its original text. https://sqlite.org/fts5.html#the_delete_command
TAKE_FROM_SEARCH = (
    f"INSERT INTO dispatch_search (dispatch_search, rowid, {SEARCH_COLUMNS}) "
    f"SELECT 'delete', id, {SEARCH_COLUMNS} FROM dispatch_text"
)

INDEXES = (
    # In the order of listings, followed by columns of filters, so that other dispatches are skipped without reading
    # their rows.
    "CREATE INDEX dispatch_history_newest ON dispatch_history (updated_utc, id, status, agent, model, org)",
    # A covering index for counts over a span: such answers read no rows, and find the dispatches of a day together.
    # Listings cannot use it: it is not ordered by time.
    "CREATE INDEX dispatch_history_daily ON dispatch_history (substr(updated_utc, 1, 10), agent, model, status, runs, "
    "updated_utc, repo, org, duration_ms, findings_count, insertions, deletions, host, committed_at, "
    "input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, turns, cost_microusd, "
    # Finds the newest commit of a run.
    "workspace, root, started_utc)",
    # Lets SQLite stop after the newest rows of each repository. Other organisations may have one of the same name with
    # a hundred times as many rows.
    "CREATE INDEX dispatch_history_repo_newest ON dispatch_history (repo, updated_utc, id, org)",
    # Rows inserted or renamed by SQL, until their commit ids are set.
    "CREATE INDEX dispatch_history_nameless ON dispatch_history (id) WHERE commit_id IS NULL",
    # Columns that few dispatches have or share.
    "CREATE INDEX dispatch_history_branch ON dispatch_history (branch, updated_utc) WHERE branch <> ''",
    "CREATE INDEX dispatch_history_issue ON dispatch_history (issue, updated_utc) WHERE issue <> 0",
    "CREATE INDEX dispatch_history_request ON dispatch_history (pr_url) WHERE pr_url <> ''",
    "CREATE INDEX dispatch_history_commit ON dispatch_history (head_commit) WHERE head_commit IS NOT NULL",
    "CREATE INDEX dispatch_history_session ON dispatch_history (session_id) WHERE session_id IS NOT NULL",
    "CREATE INDEX dispatch_history_moved ON dispatch_history (root, moved_to) WHERE moved_to IS NOT NULL",
)
FINDINGS_INDEX = "CREATE INDEX findings_dispatch ON findings (dispatch_id, tool, rule_id, code, category)"


_DISTRUST = (
    "UPDATE workspaces SET signature = x'', journal = x'' "
    "WHERE root = {row}.root AND workspace IN ({row}.workspace, {row}.moved_to)"
)


def _is_searched(number: str) -> str:
    """SQL condition: the dispatch is in the search index. https://sqlite.org/fts5.html#fts5_data_structures"""
    return f"EXISTS (SELECT 1 FROM dispatch_search_docsize WHERE id = {number})"


def _trigger(name: str, when: str, *actions: str) -> str:
    return f"CREATE TRIGGER {name} {when} BEGIN {'; '.join(actions)}; END"


def _take_before(name: str, event: str, number: str) -> str:
    return _trigger(name, f"BEFORE {event} WHEN {_is_searched(number)}", f"{TAKE_FROM_SEARCH} WHERE id = {number}")


def _add_after(name: str, event: str, number: str) -> str:
    return _trigger(name, f"AFTER {event} WHEN NOT {_is_searched(number)}", f"{ADD_TO_SEARCH} WHERE id = {number}")


_TEXT_CHANGES = f"UPDATE OF id, {_OF_DISPATCH}, issue, report ON dispatch_history"

# Operators may delete or change rows by SQL: these triggers keep findings, search and count consistent, and reset the
# state of the workspace, so that the next scan recovers missing rows from its journal. There is no trigger for inserts:
# it would double the time of our own ones (SQLite journals each statement that a trigger may abort). The count detects
# them.
TRIGGERS = (
    _take_before("dispatch_history_deleting", "DELETE ON dispatch_history", "old.id"),
    _trigger(
        "dispatch_history_deleted",
        "AFTER DELETE ON dispatch_history",
        "DELETE FROM findings WHERE dispatch_id = old.id",
        "DELETE FROM kept_files WHERE dispatch_id = old.id",
        "UPDATE upkeep SET rows = rows - 1",
        _DISTRUST.format(row="old"),
    ),
    _take_before("dispatch_history_changing", _TEXT_CHANGES, "old.id"),
    _add_after("dispatch_history_changed", _TEXT_CHANGES, "new.id"),
    _trigger(
        "dispatch_history_renamed",
        "AFTER UPDATE OF root, workspace, updated_utc, runs ON dispatch_history",
        _DISTRUST.format(row="old"),
        _DISTRUST.format(row="new"),
        # The row is another commit now; its id is set when the history is opened next.
        "UPDATE dispatch_history SET commit_id = NULL WHERE id = new.id AND new.commit_id IS old.commit_id",
    ),
    _take_before("findings_deleting", "DELETE ON findings", "old.dispatch_id"),
    _add_after("findings_deleted", "DELETE ON findings", "old.dispatch_id"),
    _take_before("findings_leaving", "UPDATE ON findings", "old.dispatch_id"),
    _take_before("findings_coming", "UPDATE OF dispatch_id ON findings", "new.dispatch_id"),
    _add_after("findings_left", "UPDATE ON findings", "old.dispatch_id"),
    _add_after("findings_came", "UPDATE OF dispatch_id ON findings", "new.dispatch_id"),
)


TRIGGER_NAMES = tuple(trigger.split()[2] for trigger in TRIGGERS)


def dispatch_history(name: str = "dispatch_history") -> str:
    """The statement that creates the table of dispatches, under another `name` for a copy."""
    return _DISPATCH_HISTORY.format(name=name)


VIEWS = (_ROOTS, _DISPATCHES, _SEARCH_TEXT)

OVER_DISPATCHES = (
    *INDEXES,
    *(*VIEWS, SEARCH),
    *TRIGGERS,
)
"""Statements for indexes and triggers of the table of dispatches."""

CREATE = (
    *(dispatch_history(), FINDINGS, FINDINGS_INDEX, KEPT_FILES, _WORKSPACES, OPEN_WORKSPACES),
    *(*OPEN_RUNS, *ABOUT, *UPKEEP, *OVER_DISPATCHES),
)
"""All statements for an empty file, in order."""
