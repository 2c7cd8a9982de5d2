//! Where the logs of second containers lie: `STATE/log/nested/CONTAINER/NAME.jsonl`, as long as other logs are kept.

use crate::builds;
use coord_shared::names::{ChildName, ContainerId};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The log of the second container `child` within `parent`: an instance, a step as it is listed, or the ID of one of their containers. Of
/// several that were named so, the one that wrote last; `None` where there is none.
pub fn child_log(state_dir: &Path, parent: &str, child: &ChildName) -> Option<PathBuf> {
    let folders = std::fs::read_dir(state_dir.join("log").join("nested")).into_iter().flatten().flatten();
    let logs = folders.filter(|folder| folder.file_name().to_str().is_some_and(|container| is_of(container, parent)));
    let logs =
        logs.map(|folder| folder.path().join(format!("{child}.jsonl"))).filter_map(|path| Some((written_at(&path)?, path)));
    logs.max().map(|(_, path)| path)
}

fn is_of(container: &str, parent: &str) -> bool {
    let id = container.parse::<ContainerId>().ok().or_else(|| builds::shown_as(container));
    container == parent || id.is_some_and(|id| id.to_string() == parent || id.instance.to_string() == parent)
}

fn written_at(path: &Path) -> Option<SystemTime> {
    std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?.modified().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::time::Duration;

    #[test]
    fn a_log_is_found_by_instance_step_and_container() {
        let state = tempfile::tempdir().expect("a folder");
        let make = |container: &str, child: &str, age_s: u64| {
            let folder = state.path().join("log/nested").join(container);
            fs::create_dir_all(&folder).expect("a folder");
            let log = File::create(folder.join(format!("{child}.jsonl"))).expect("a log");
            log.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age_s)).expect("a time");
        };
        make("web.0-r1-1", "unit", 10);
        make("web.0-r2-1", "unit", 5);
        make("web.1-r2-1", "lint", 1);
        make("build_shop.12-test.0-1", "unit", 1);
        let check = |parent: &str, child: &str, expect: Option<&str>| {
            let found = child_log(state.path(), parent, &child.parse().expect("a name"));
            let expect = expect.map(|container| state.path().join("log/nested").join(container).join(format!("{child}.jsonl")));
            assert_eq!(found, expect, "{parent}/{child}");
        };
        check("web.0", "unit", Some("web.0-r2-1"));
        check("web.0-r1-1", "unit", Some("web.0-r1-1"));
        check("web.1", "unit", None);
        check("web", "unit", None);
        check("..", "unit", None);
        check("build-shop.12", "unit", Some("build_shop.12-test.0-1"));
        check("build_shop.12-test.0-1", "unit", Some("build_shop.12-test.0-1"));
    }
}
