//! What is old goes; what anybody may still need stays.
use super::*;
use crate::control::Retention;
use crate::records::{history_key, history_prefix, revision_prefix};
use coord_shared::decide::retention::{HISTORY_KEPT, REVISIONS_KEPT};

impl Fleet {
    fn retention(&self) -> Retention {
        Retention::new(Arc::clone(&self.store) as SharedStore, Arc::clone(&self.hosts))
    }

    async fn revisions(&self, name: &str) -> Vec<u64> {
        let prefix = revision_prefix(&workload(name));
        let entries = self.store.range(&prefix).await.expect("reads");
        entries.iter().map(|entry| entry.key[prefix.len()..].parse().expect("a number")).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn old_revisions_go_and_those_that_run_stay() {
    let mut fleet = fleet();
    for name in ["a", "b"] {
        fleet.add_host(name, "web").await;
    }
    // a is told the first and reports the second; b is told the third, and is to fetch the newest.
    for (revision, on) in [(1, "a"), (2, "a"), (3, "b")] {
        fleet.publish("web", revision, &document(&format!("[\"{on}\"]"), ""), &format!("content {revision}")).await;
        if revision != 2 {
            fleet.pass().await;
        }
    }
    fleet.say("a", Some(("web.0-r2-1", true)));
    let newest = 40;
    for revision in 4..=newest {
        fleet.publish("web", revision, &document("[\"b\"]", ""), &format!("content {revision}")).await;
        fleet.put(Txn::default().put(history_key(&workload("web"), Revision(revision)), "{}")).await;
    }
    let assigned = Assigned { workload: workload("web"), index: 0, revision: Revision(1) };
    let record = AssignRecord { generation: Generation(9), instances: vec![assigned], ..AssignRecord::default() };
    fleet.put(Txn::default().put(format!("{ASSIGN}a"), encode(&record))).await;
    let removed = fleet.retention().pass().await.expect("passes");
    let last = newest - u64::try_from(REVISIONS_KEPT).expect("small") + 1;
    let expect: Vec<u64> = [1, 2, 3].into_iter().chain(last..=newest).collect();
    assert_eq!((fleet.revisions("web").await, removed), (expect, (last - 4) as usize));
    assert_eq!(fleet.retention().pass().await.expect("passes"), 0);
}

#[tokio::test(start_paused = true)]
async fn histories_are_bounded_and_a_deleted_workload_keeps_its_last_text() {
    let fleet = fleet();
    fleet.publish("web", 1, &document("[\"a\"]", ""), "one").await;
    let lines = u64::try_from(HISTORY_KEPT).expect("small") + 250;
    for revision in 1..=lines {
        fleet.put(Txn::default().put(history_key(&workload("web"), Revision(revision)), "{}")).await;
    }
    fleet.delete("web", 2).await;
    assert_eq!(fleet.retention().pass().await.expect("passes"), 250);
    let left = fleet.store.range(&history_prefix(&workload("web"))).await.expect("reads");
    assert_eq!((left.len(), left[0].key.as_str()), (HISTORY_KEPT, history_key(&workload("web"), Revision(251)).as_str()));
    assert_eq!(fleet.revisions("web").await, [1]);
}

#[tokio::test(start_paused = true)]
async fn where_something_is_unreadable_nothing_is_forgotten() {
    let fleet = fleet();
    for revision in 1..=30 {
        fleet.publish("web", revision, &document("[\"a\"]", ""), "one").await;
    }
    fleet.put(Txn::default().put(format!("{ASSIGN}a"), "{")).await;
    assert!(fleet.retention().pass().await.is_err());
    assert_eq!(fleet.revisions("web").await.len(), 30);
}
