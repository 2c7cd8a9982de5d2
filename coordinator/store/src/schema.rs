//! The embedded store's file: its tables and their version.
//!
//! `PRAGMA user_version` holds the version; a file of a newer one is refused untouched. A deleted key keeps a row without a value,
//! so that whoever asks for changes learns of the deletion; such rows go when the store is opened, because no reader outlives it.

use super::StoreError;
use rusqlite::Connection;
use std::path::Path;

/// The version that this code writes.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// Opens a connection with the settings that every one of ours has.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(|e| StoreError::engine("open the database", e))?;
    // FULL: an acknowledged commit survives a power cut. A small page cache: values are small and the kernel caches too.
    let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -1024; PRAGMA mmap_size = 0;";
    connection.execute_batch(settings).map_err(|e| StoreError::engine("set up the database", e))?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(|e| StoreError::engine("set up the database", e))?;
    Ok(connection)
}

/// Makes the tables of a new file, refuses a newer one, forgets deletions. Returns the newest revision.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<u64, StoreError> {
    let fail = |e| StoreError::engine("prepare the database", e);
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::TooNew { path: path.display().to_string(), found, known: SCHEMA_VERSION });
    }
    let txn = connection.transaction().map_err(fail)?;
    if found == 0 {
        txn.execute_batch(
            "CREATE TABLE entry (key TEXT PRIMARY KEY, value BLOB, revision INTEGER NOT NULL) WITHOUT ROWID;
             CREATE INDEX entry_by_revision ON entry (revision);
             CREATE TABLE newest (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL);
             INSERT INTO newest VALUES (1, 0);",
        )
        .map_err(fail)?;
        txn.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(fail)?;
    }
    txn.execute("DELETE FROM entry WHERE value IS NULL", []).map_err(fail)?;
    let newest: i64 = txn.query_row("SELECT revision FROM newest", [], |row| row.get(0)).map_err(fail)?;
    txn.commit().map_err(fail)?;
    u64::try_from(newest).map_err(|e| StoreError::engine("prepare the database", e))
}
