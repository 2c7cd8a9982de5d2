//! Generations only grow, and the file is whole or named as damaged.
use super::*;
use coord_shared::names::{Digest, HostName, Revision};
use coord_shared::wire::Prefetch;

fn host() -> HostName {
    "web-1".parse().expect("a host name")
}

fn state(generation: u64, revision: u64) -> HostState {
    let instance = DesiredInstance {
        workload: "web".parse().expect("a workload name"),
        index: 0,
        revision: Revision(revision),
        digest: Digest::of(b"image"),
        document: String::new(),
    };
    HostState { generation: Generation(generation), instances: vec![instance], ..HostState::empty(host()) }
}

fn login() -> RegistryLogin {
    let (username, password) = (Some("puller".to_owned()), Some("sesame".to_owned()));
    RegistryLogin { prefix: "r.lan".to_owned(), location: None, mirrors: Vec::new(), insecure: false, username, password }
}

#[test]
fn generations_only_grow() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut ledger = Ledger::open(folder.path(), &host()).expect("opened");
    assert_eq!(ledger.judge(&state(5, 1), &host()), Ok(true));
    ledger.accept(&state(5, 1), Vec::new()).expect("accepted");
    let ledger = Ledger::open(folder.path(), &host()).expect("opened again");
    assert_eq!(ledger.generation(), Some(Generation(5)));
    assert_eq!(ledger.judge(&state(5, 1), &host()), Ok(false));
    assert_eq!(ledger.judge(&state(5, 2), &host()), Err(Refusal::NotIdentical(Generation(5))));
    assert_eq!(ledger.judge(&state(4, 1), &host()), Err(Refusal::Older { offered: Generation(4), accepted: Generation(5) }));
    assert_eq!(ledger.judge(&state(6, 2), &host()), Ok(true));
    let other: HostName = "web-2".parse().expect("a host name");
    assert!(matches!(ledger.judge(&state(6, 2), &other), Err(Refusal::OtherHost { .. })));
}

#[test]
fn helps_may_be_news_under_an_equal_generation() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut ledger = Ledger::open(folder.path(), &host()).expect("opened");
    ledger.accept(&state(5, 1), Vec::new()).expect("accepted");
    let prefetch = vec![Prefetch { image: "r.lan/web:2".parse().expect("an image"), digest: Digest::of(b"next") }];
    let helped = HostState { prefetch, registries: vec![login()], ..state(5, 1) };
    assert_eq!(ledger.judge(&helped, &host()), Ok(true), "an older agent may have accepted it without");
    ledger.accept(&helped, Vec::new()).expect("accepted");
    let ledger = Ledger::open(folder.path(), &host()).expect("opened again");
    assert_eq!((ledger.registries(), ledger.judge(&helped, &host())), ([login()].as_slice(), Ok(false)));
    assert!(matches!(ledger.judge(&HostState { instances: Vec::new(), ..helped }, &host()), Err(Refusal::NotIdentical(_))));
}

#[test]
fn nobody_else_reads_the_ledger() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ledger.json");
    // Whatever it was before, and whoever made it.
    std::fs::write(&file, "{\"version\":1,\"state\":null}").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("changed");
    let mut ledger = Ledger::open(folder.path(), &host()).expect("opened");
    ledger.accept(&HostState { registries: vec![login()], ..state(5, 1) }, Vec::new()).expect("accepted");
    let mode = std::fs::metadata(&file).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds passwords");
}

#[test]
fn a_damaged_ledger_is_named_and_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut ledger = Ledger::open(folder.path(), &host()).expect("opened");
    ledger.accept(&state(5, 1), Vec::new()).expect("accepted");
    let file = folder.path().join("ledger.json");
    let whole = std::fs::read(&file).expect("read");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("cut");
    let error = Ledger::open(folder.path(), &host()).expect_err("damaged").to_string();
    assert!(error.contains("ledger.json is damaged"), "{error}");
    assert_eq!(std::fs::read(&file).expect("still there").len(), whole.len() / 2);
}

#[test]
fn the_ledger_of_another_host_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut ledger = Ledger::open(folder.path(), &host()).expect("opened");
    ledger.accept(&state(5, 1), Vec::new()).expect("accepted");
    let other: HostName = "web-2".parse().expect("a host name");
    let error = Ledger::open(folder.path(), &other).expect_err("refused").to_string();
    assert!(error.contains("host web-1") && error.contains("web-2"), "{error}");
}
