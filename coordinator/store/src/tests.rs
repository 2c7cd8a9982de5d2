//! One conformance suite for every engine: what `Store` promises, and nothing about how it is kept.
use super::*;
use std::sync::Arc;

/// An engine under test, and what must live as long as it.
struct Engine {
    name: &'static str,
    store: SharedStore,
    _folder: Option<tempfile::TempDir>,
}

fn engines() -> Vec<Engine> {
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = open(folder.path()).expect("opens");
    vec![
        Engine { name: "memory", store: Arc::new(MemoryStore::default()), _folder: None },
        Engine { name: "sqlite", store: sqlite, _folder: Some(folder) },
        Engine { name: "faulty", store: Arc::new(FaultyStore::new(Arc::new(MemoryStore::default()))), _folder: None },
    ]
}

/// Runs one promise on every engine.
async fn on_all<F: Future<Output = ()>>(promise: impl Fn(&'static str, SharedStore) -> F) {
    for engine in engines() {
        promise(engine.name, Arc::clone(&engine.store)).await;
    }
}

async fn put(store: &SharedStore, key: &str, value: &str) -> StoreRevision {
    commit(store, Txn::default().put(key, value.to_owned())).await.expect("commits")
}

async fn commit(store: &SharedStore, txn: Txn) -> Option<StoreRevision> {
    match store.txn(txn).await.expect("the store works") {
        Committed::Yes(revision) => Some(revision),
        Committed::Conflict => None,
    }
}

async fn text(store: &SharedStore, key: &str) -> Option<String> {
    let entry = store.get(key).await.expect("reads")?;
    assert_eq!(entry.key, key);
    Some(String::from_utf8(entry.value.to_vec()).expect("text"))
}

async fn changed(store: &SharedStore, since: StoreRevision, prefixes: &[&str]) -> Vec<(String, Option<String>)> {
    let changes = store.changes(since, prefixes).await.expect("reads");
    let value = |v: Bytes| String::from_utf8(v.to_vec()).expect("text");
    changes.changes.into_iter().map(|change| (change.key, change.value.map(value))).collect()
}

#[tokio::test]
async fn keys_are_written_read_and_deleted() {
    on_all(async |name, store| {
        assert_eq!(text(&store, "a/x").await, None, "{name}");
        put(&store, "a/x", "1").await;
        put(&store, "a/x", "2").await;
        assert_eq!(text(&store, "a/x").await.as_deref(), Some("2"), "{name}");
        commit(&store, Txn::default().delete("a/x").delete("a/never")).await.expect("commits");
        assert_eq!(text(&store, "a/x").await, None, "{name}");
        put(&store, "a/x", "").await;
        assert_eq!(text(&store, "a/x").await.as_deref(), Some(""), "{name}: empty is not absent");
    })
    .await;
}

#[tokio::test]
async fn a_range_holds_its_prefix_in_order_and_nothing_else() {
    on_all(async |name, store| {
        for key in ["a/2", "a", "a/", "a0", "b/1", "a/1", "a/gone"] {
            put(&store, key, key).await;
        }
        commit(&store, Txn::default().delete("a/gone")).await.expect("commits");
        let keys: Vec<_> = store.range("a/").await.expect("reads").into_iter().map(|e| e.key).collect();
        assert_eq!(keys, ["a/", "a/1", "a/2"], "{name}");
        assert_eq!(store.range("").await.expect("reads").len(), 6, "{name}");
    })
    .await;
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing() {
    on_all(async |name, store| {
        let first = put(&store, "a", "1").await;
        let stale = put(&store, "b", "1").await;
        put(&store, "b", "2").await;
        let refused = Txn::default().expect("a", Some(first)).expect("b", Some(stale)).put("a", "x").put("c", "x");
        assert_eq!(commit(&store, refused).await, None, "{name}");
        let exists = Txn::default().expect("a", None).put("a", "x");
        assert_eq!(commit(&store, exists).await, None, "{name}");
        let missing = Txn::default().expect("c", Some(1)).put("c", "x");
        assert_eq!(commit(&store, missing).await, None, "{name}");
        assert_eq!((text(&store, "a").await.as_deref(), text(&store, "c").await), (Some("1"), None), "{name}");
        let fine = Txn::default().expect("a", Some(first)).expect("c", None).put("a", "2").put("c", "1").delete("b");
        let revision = commit(&store, fine).await.expect("commits");
        let written = store.get("c").await.expect("reads").expect("is there");
        assert_eq!(written.revision, revision, "{name}");
        assert_eq!(text(&store, "b").await, None, "{name}");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_key_counts_as_absent() {
    on_all(async |name, store| {
        put(&store, "a", "1").await;
        let gone = commit(&store, Txn::default().delete("a")).await.expect("commits");
        assert_eq!(commit(&store, Txn::default().expect("a", Some(gone)).put("a", "x")).await, None, "{name}");
        assert!(commit(&store, Txn::default().expect("a", None).put("a", "2")).await.is_some(), "{name}");
    })
    .await;
}

#[tokio::test]
async fn revisions_grow_by_one_and_conflicts_take_none() {
    on_all(async |name, store| {
        let first = put(&store, "a", "1").await;
        assert_eq!(commit(&store, Txn::default().expect("a", None).put("a", "2")).await, None);
        assert_eq!(put(&store, "a", "3").await, first + 1, "{name}");
        assert_eq!(*store.watch().borrow(), first + 1, "{name}");
    })
    .await;
}

#[tokio::test]
async fn changes_tell_each_key_once_with_its_newest_value() {
    on_all(async |name, store| {
        let start = put(&store, "a/1", "old").await;
        put(&store, "a/2", "1").await;
        put(&store, "a/1", "new").await;
        put(&store, "other", "1").await;
        put(&store, "b/1", "1").await;
        commit(&store, Txn::default().delete("a/2")).await.expect("commits");
        let got = changed(&store, start, &["a/", "b/"]).await;
        let expect = [("a/1", Some("new")), ("b/1", Some("1")), ("a/2", None)];
        let expect: Vec<_> = expect.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
        assert_eq!(got, expect, "{name}");
        let all = changed(&store, 0, &["a/"]).await;
        assert_eq!(all, [("a/1".to_owned(), Some("new".to_owned()))], "{name}: from the beginning there are no deletions");
        let now = store.changes(0, &[""]).await.expect("reads").revision;
        assert!(changed(&store, now, &[""]).await.is_empty(), "{name}");
    })
    .await;
}

#[tokio::test]
async fn a_watch_wakes_for_every_commit_also_one_that_came_first() {
    on_all(async |name, store| {
        let mut newest = store.watch();
        let written = put(&store, "a", "1").await;
        newest.changed().await.expect("the store lives");
        assert_eq!(*newest.borrow_and_update(), written, "{name}");
        let (later, woken) = tokio::join!(put(&store, "a", "2"), newest.changed());
        woken.expect("the store lives");
        assert_eq!(*newest.borrow_and_update(), later, "{name}");
    })
    .await;
}

#[tokio::test]
async fn of_many_writers_each_success_is_counted() {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    on_all(async |name, store| {
        let writers = (0..WRITERS).map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut done = 0;
                while done < EACH {
                    let entry = store.get("n").await.expect("reads");
                    let n: usize = entry.as_ref().map_or(0, |e| String::from_utf8_lossy(&e.value).parse().expect("a number"));
                    let txn = Txn::default().expect("n", entry.map(|e| e.revision)).put("n", (n + 1).to_string());
                    done += usize::from(commit(&store, txn).await.is_some());
                }
            })
        });
        futures_util::future::join_all(writers).await;
        assert_eq!(text(&store, "n").await, Some((WRITERS * EACH).to_string()), "{name}");
    })
    .await;
}

#[tokio::test]
async fn a_value_over_the_limit_is_refused() {
    on_all(async |name, store| {
        let refused = store.txn(Txn::default().put("a", vec![0; VALUE_MAX_BYTES + 1])).await;
        assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{name}");
        assert!(commit(&store, Txn::default().put("a", vec![0; VALUE_MAX_BYTES])).await.is_some(), "{name}");
    })
    .await;
}

#[tokio::test]
async fn the_embedded_store_survives_closing() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).expect("opens");
    put(&store, "a", "1").await;
    let newest = commit(&store, Txn::default().put("b", "1").delete("a")).await.expect("commits");
    drop(store);
    let store = open(folder.path()).expect("opens again");
    assert_eq!((text(&store, "a").await, text(&store, "b").await.as_deref()), (None, Some("1")));
    assert_eq!(put(&store, "c", "1").await, newest + 1);
    // Deletions of an earlier life are forgotten, and whoever would need them is told so.
    assert!(matches!(store.changes(newest - 1, &[""]).await, Err(StoreError::Compacted { .. })));
    assert_eq!(store.changes(newest, &[""]).await.expect("reads").changes.len(), 1);
}

#[tokio::test]
async fn the_embedded_store_refuses_a_newer_file_and_leaves_it_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()).expect("opens"));
    let file = folder.path().join("coord.sqlite");
    let newer = |version: u32| {
        let connection = rusqlite::Connection::open(&file).expect("opens");
        connection.pragma_update(None, "user_version", version).expect("writes");
    };
    newer(schema::SCHEMA_VERSION + 1);
    match open(folder.path()) {
        Err(StoreError::TooNew { found, .. }) => assert_eq!(found, schema::SCHEMA_VERSION + 1),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened a file of a newer version"),
    }
    newer(schema::SCHEMA_VERSION);
    assert!(open(folder.path()).is_ok());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("coord.sqlite"),
        "no database at all, but longer than a header of SQLite is; it has 100 bytes",
    )
    .expect("writes");
    assert!(matches!(open(folder.path()), Err(StoreError::Engine { .. })));
}

#[tokio::test]
async fn planned_faults_happen_once_and_in_order() {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()));
    store.plan([Fault::Fail, Fault::Conflict, Fault::LoseAnswer]);
    let txn = |value: &str| Txn::default().put("a", value.to_owned());
    assert!(store.txn(txn("1")).await.is_err());
    assert_eq!(store.txn(txn("2")).await.expect("answers"), Committed::Conflict);
    assert_eq!(store.get("a").await.expect("reads"), None);
    assert!(store.txn(txn("3")).await.is_err());
    assert_eq!(store.get("a").await.expect("reads").expect("was written").value, "3");
    assert!(matches!(store.txn(txn("4")).await, Ok(Committed::Yes(_))));
}
