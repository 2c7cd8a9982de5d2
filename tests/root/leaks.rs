//! The leak checker sees what leaks: one of each kind is left behind on purpose.

use std::fs;

use anyhow::Result;
use coord_tests::cell::{Cell, Cgroups};
use coord_tests::cgroup::Group;
use coord_tests::fleet::unmount_below;
use coord_tests::images::other;
use coord_tests::leaks::{Scope, leaked};
use coord_tests::process::{Place, Process};

#[test]
fn every_kind_of_leak_is_seen() -> Result<()> {
    coord_tests::need_root();
    let (cell, group, dir) = (Cell::start(Cgroups::AsTheyAre)?, Group::create()?, tempfile::tempdir()?);
    for name in ["c", "mounted"] {
        fs::create_dir(dir.path().join(name))?;
    }
    let scope = Scope { folder: dir.path(), group: &group, network: Some(cell.place()), listed: &["c"] };
    let before = scope.traces();
    assert_eq!(leaked(&before, &scope.traces()), Vec::<String>::new(), "nothing happened");

    other(&["mount", "-t", "tmpfs", "none", &dir.path().join("mounted").to_string_lossy()])?;
    let cgroup = group.dirs()[0].join("left");
    fs::create_dir(&cgroup)?;
    fs::create_dir(dir.path().join("c/web.0-r1-1"))?;
    let place = Place { cgroups: group.dirs().to_vec(), enter: vec!["unshare".to_owned(), "--ipc".to_owned()], forks: false };
    let process = Process::start("left", &["sleep", "1000"], &place, &dir.path().join("log"))?;
    cell.ok(&["ip", "link", "add", "left0", "type", "bridge"])?;
    cell.ok(&["ip", "addr", "add", "10.9.9.1/24", "dev", "left0"])?;
    cell.ok(&["nft", "add", "table", "inet", "left"])?;

    let seen = || leaked(&before, &scope.traces()).join("\n");
    let kinds =
        ["mount ", "cgroup ", "file ", "process sleep", "namespace ipc", "link left0", "address left0", "rule table inet left"];
    let complete = coord_tests::wait::wait_until(std::time::Duration::from_secs(10), "all are seen", || {
        let seen = seen();
        kinds.iter().all(|kind| seen.contains(kind))
    });
    let said = seen();
    unmount_below(dir.path());
    drop(process);
    complete.map_err(|error| error.context(said))
}
