//! What goes and what stays: each rule of reachability, and who wins where a push and a collection meet.

use super::needed::is_fresh;
use super::sweep::{Shelves, Sweep};
use super::*;
use crate::error::CentreError;
use crate::names::Tag;
use crate::records::*;
use coord_shared::names::{Digest, Repository};
use coord_store::{Committed, MemoryStore, SharedStore, Txn};
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

mod shelf;
mod whole;

use shelf::{Shelf, now, repository};

/// Collects `shelf` with a grace of an hour, and answers what is left as `m:NAME`, `b:NAME`, `t:NAME`, `l:NAME`, of one repository.
async fn check(shelf: &Shelf, roots: &[(&str, &str)], rules: &str, expect_gone: &[&str]) {
    let before = shelf.names().await;
    let done = shelf.collect(roots, rules, false).await.expect("collects");
    let after = shelf.names().await;
    let gone: Vec<&str> = before.difference(&after).map(String::as_str).collect();
    assert_eq!(gone, expect_gone);
    assert_eq!(done.gave_way, 0);
    let again = shelf.collect(roots, rules, false).await.expect("collects");
    assert!(again.removed.is_empty(), "a second collection finds nothing: {:?}", again.removed);
}

#[tokio::test]
async fn a_tag_keeps_its_manifest_and_all_that_it_needs() {
    let shelf = Shelf::default();
    shelf.image("kept", &["config", "layer"], 48).await;
    shelf.tag("latest", "kept", 48).await;
    shelf.image("old", &["old-config", "layer"], 48).await;
    shelf.blob("stray", 48).await;
    check(&shelf, &[], "", &["b:old", "b:old-config", "b:stray", "l:old-config", "l:stray", "m:old"]).await;
}

#[tokio::test]
async fn what_was_touched_a_moment_ago_stays() {
    let shelf = Shelf::default();
    shelf.image("fresh", &["config"], 0).await;
    shelf.blob("uploaded", 0).await;
    shelf.blob("forgotten", 2).await;
    check(&shelf, &[], "", &["b:forgotten", "l:forgotten"]).await;
}

#[tokio::test]
async fn an_index_keeps_its_images_and_an_image_what_is_said_of_it() {
    let shelf = Shelf::default();
    shelf.image("amd64", &["a"], 48).await;
    shelf.image("arm64", &["b"], 48).await;
    shelf.index("index", &["amd64", "arm64"], None, 48).await;
    shelf.referrer("signature", "arm64", 48).await;
    shelf.referrer("dangling", "nowhere", 48).await;
    check(&shelf, &[("index", "revision 7 of web")], "", &["b:dangling", "m:dangling", "r:dangling"]).await;
    check(
        &shelf,
        &[("amd64", "revision 7 of web")],
        "",
        &["b:arm64", "b:b", "b:index", "b:signature", "l:b", "m:arm64", "m:index", "m:signature", "r:signature"],
    )
    .await;
}

#[tokio::test]
async fn manifests_that_only_need_each_other_go_together() {
    let shelf = Shelf::default();
    shelf.image("image", &["a"], 48).await;
    // An index that is said to be about the image in it.
    shelf.index("index", &["image"], Some("image"), 48).await;
    check(&shelf, &[], "", &["b:a", "b:image", "b:index", "l:a", "m:image", "m:index", "r:index"]).await;
}

#[tokio::test]
async fn rules_let_tags_go_and_documents_keep_theirs() {
    let shelf = Shelf::default();
    for (name, hours) in [("v1", 72), ("used", 70), ("old", 60), ("new", 50)] {
        shelf.image(name, &[], hours).await;
        shelf.tag(name, name, hours).await;
    }
    let rules = "[[rule]]\nrepository = \"*\"\nkeep_tags = [\"v*\"]\nkeep_last = 1";
    check(&shelf, &[("used", "revision 1 of web")], rules, &["b:old", "m:old", "t:old"]).await;
}

#[tokio::test]
async fn a_dry_run_says_the_same_and_changes_nothing() {
    let shelf = Shelf::default();
    shelf.image("old", &["config"], 48).await;
    shelf.tag("old", "old", 48).await;
    let rules = "[[rule]]\nrepository = \"*\"\nkeep_last = 0";
    let before = shelf.names().await;
    let said = shelf.collect(&[], rules, true).await.expect("looks");
    assert_eq!(shelf.names().await, before);
    assert!(shelf.removed_bytes().is_empty());
    let done = shelf.collect(&[], rules, false).await.expect("collects");
    assert_eq!(said, done);
    assert_eq!(done.removed.len(), 4, "{done:?}");
    assert_eq!(shelf.removed_bytes().len(), 2);
}

#[tokio::test]
async fn nothing_goes_while_nobody_knows_what_is_in_use() {
    struct Blind;
    impl Roots for Blind {
        fn roots(&self) -> BoxFuture<'_, Result<Vec<Root>, RootsError>> {
            Box::pin(async { Err(RootsError("no store".into())) })
        }
    }
    let shelf = Shelf::default();
    shelf.image("old", &["config"], 48).await;
    let before = shelf.names().await;
    assert!(matches!(shelf.collect_with(&Blind, "", false).await, Err(CentreError::Roots(_))));
    assert_eq!(shelf.names().await, before);
}

type Act = Box<dyn for<'s> FnOnce(&'s Shelf) -> BoxFuture<'s, ()> + Send>;

/// Does something to the shelf when the collection asks for roots: after it has read the records, before it removes anything.
struct Meanwhile<'a>(&'a Shelf, Mutex<Option<Act>>);

impl<'a> Meanwhile<'a> {
    fn new(shelf: &'a Shelf, act: impl for<'s> FnOnce(&'s Shelf) -> BoxFuture<'s, ()> + Send + 'static) -> Self {
        Self(shelf, Mutex::new(Some(Box::new(act))))
    }
}

impl Roots for Meanwhile<'_> {
    fn roots(&self) -> BoxFuture<'_, Result<Vec<Root>, RootsError>> {
        let act = self.1.lock().expect("no panic").take();
        Box::pin(async move {
            if let Some(act) = act {
                act(self.0).await;
            }
            Ok(Vec::new())
        })
    }
}

#[tokio::test]
async fn a_tag_that_comes_meanwhile_keeps_the_whole_image() {
    let shelf = Shelf::default();
    shelf.image("image", &["a"], 48).await;
    shelf.index("index", &["image"], None, 48).await;
    shelf.image("other", &["b"], 48).await;
    let meanwhile = Meanwhile::new(&shelf, |shelf| Box::pin(shelf.tag("latest", "index", 0)));
    let done = shelf.collect_with(&meanwhile, "", false).await.expect("collects");
    assert_eq!(done.gave_way, 1);
    let left = shelf.names().await;
    for name in ["m:index", "m:image", "b:index", "b:image", "b:a", "l:a"] {
        assert!(left.contains(name), "{name} is gone: {left:?}");
    }
    assert!(!left.contains("m:other") && !left.contains("b:b"), "{left:?}");
}

#[tokio::test]
async fn a_push_that_uses_an_old_layer_meanwhile_keeps_it() {
    let shelf = Shelf::default();
    shelf.blob("layer", 48).await;
    shelf.blob("stray", 48).await;
    let meanwhile = Meanwhile::new(&shelf, |shelf| Box::pin(shelf.image("new", &["layer"], 0)));
    shelf.collect_with(&meanwhile, "", false).await.expect("collects");
    let left = shelf.names().await;
    assert!(left.contains("b:layer") && left.contains("l:layer") && !left.contains("b:stray"), "{left:?}");
}

#[test]
fn a_clock_that_was_set_back_makes_nothing_old() {
    let check = |minutes: i64, expect: bool| {
        let at = now() - SignedDuration::from_mins(minutes);
        assert_eq!(is_fresh(at, now(), Duration::from_secs(3600)), expect, "{minutes} min ago");
    };
    check(0, true);
    check(59, true);
    check(60, false);
    check(-60 * 24 * 365, true);
}
