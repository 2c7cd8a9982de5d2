//! The comparison by log: before a second container, another one of the same image prints what it sees in the caches, by the image's own
//! programs, and its log is compared with the caches' lists.
//!
//! It is the check that people did by hand before the agent looked itself, for those who want to see it with their own image's eyes.

use super::caches::Mounted;
use super::child::{Child, not_started, parent};
use super::door::{Door, remove_logs};
use super::image::Ready;
use super::inspection::Seen;
use super::refusal::{broken, cure, ending, refuse};
use crate::engine::Engine;
use crate::logs::{Follow, LogLine, LogStream};
use coord_runtime::{ContainerSpec, LogDriver, LogPolicy, Mount, Resources, Runtime as _};
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{Entry, EntryKind, WHOLE_MAX_BYTES};
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// How long it may take: a gigabyte of files is hashed in some seconds.
const TIMEOUT: Duration = Duration::from_secs(300);
/// What it may print: fifty thousand files.
const LIST_MAX_BYTES: u64 = 8 << 20;
const PIDS: u32 = 64;
/// Prints each cache's small files with their digests, as lines of sha256sum, and the names of the large ones.
const SCRIPT: &str = "for path; do cd \"$path\" && echo \"cache\" && \
    find . -type f ! -size +2048 -exec sha256sum {} + && find . -type f -size +2048 -exec echo large {} ';' || exit 1; done";

/// How many files were compared, by cache in the order of the mounts.
pub(super) async fn compare(
    door: &Door,
    child: &Child,
    engine: &Engine,
    (ready, mounted): (&Ready, &[Mounted]),
) -> Result<Vec<u64>, ErrorBody> {
    let container = format!("{}-list", child.record.borrow().container);
    let log = door.tools.places.list_log(&container);
    // Few at a time: what they print is read whole.
    let _slot = door.lists.acquire().await.map_err(|_| ending())?;
    let listed = list(door, child, engine, (&container, ready, mounted, &log)).await;
    if let Err(error) = engine.remove(&container).await {
        tracing::warn!(%container, error = %crate::chain(&error), "something is left of a container that listed files");
    }
    let lines = match &listed {
        Ok(()) => read(&log).await,
        Err(_) => Ok(Vec::new()),
    };
    remove_logs(&log);
    listed?;
    let lines = lines.map_err(|error| broken("read a list of files", &error))?;
    let mut counts = Vec::new();
    // Before the first cache there is nothing.
    let printed = lines.split(|line| line == "cache").skip(1);
    for (one, lines) in mounted.iter().zip(printed) {
        let entries = door.caches.entries(&one.view.name).await?;
        let differs = |difference: String| {
            let name = &one.view.name;
            refuse("altered", format!("what container {} printed of cache {name} is not its list: {difference}", child.name()))
        };
        counts.push(same(&entries, lines).map_err(differs)?);
    }
    Ok(counts)
}

async fn list(
    door: &Door,
    child: &Child,
    engine: &Engine,
    (container, ready, mounted, log): (&str, &Ready, &[Mounted], &Path),
) -> Result<(), ErrorBody> {
    let paths = mounted.iter().map(|one| one.view.path.clone());
    let args = ["/bin/sh", "-c", SCRIPT, "list"].map(str::to_owned).into_iter().chain(paths).collect();
    let policy = LogPolicy {
        driver: LogDriver::JsonFile,
        path: log.to_owned(),
        max_bytes: LIST_MAX_BYTES,
        max_files: 1,
        rate_bytes_per_s: None,
    };
    let mut mounts: Vec<Mount> = mounted.iter().map(|one| Mount { read_only: true, ..one.mount.clone() }).collect();
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    let path = ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    let spec = ContainerSpec {
        env: vec![path],
        mounts,
        resources: Resources { pids: Some(PIDS), ..Resources::default() },
        config_in_memory: true,
        parent: Some(parent(door)?),
        ..ContainerSpec::new(container, ready.lowers.clone(), args, policy)
    };
    let cannot = |why: String| {
        let refusal = refuse("verify_failed", format!("container {} cannot be verified by log: {why}", child.name()));
        cure(refusal, "its image needs sh, find and sha256sum for that; without it, the mounts are verified all the same")
    };
    let started = engine.runtime.start(spec).await;
    started.map_err(|error| cannot(not_started(&child.name(), &Seen::default(), &error).message))?;
    let exit = tokio::select! {
        exit = tokio::time::timeout(TIMEOUT, engine.ended(container)) => exit,
        why = child.asked_to_end() => return Err(refuse("stopped", format!("container {}: {why}", child.name()))),
    };
    match exit {
        Ok(exit) if exit.code == Some(0) => Ok(()),
        Ok(exit) => Err(cannot(format!(
            "its list ended with {}",
            exit.code.map_or_else(|| "a signal".to_owned(), |c| format!("code {c}"))
        ))),
        Err(_) => Err(cannot(format!("its list took more than {} s", TIMEOUT.as_secs()))),
    }
}

/// What was printed, line by line.
async fn read(log: &Path) -> std::io::Result<Vec<String>> {
    let log = log.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let (mut follow, mut all) = (Follow::from_start(&log), Vec::new());
        loop {
            let lines: Vec<LogLine> = follow.read()?;
            if lines.is_empty() {
                return Ok(all);
            }
            all.extend(lines.into_iter().filter(|line| line.stream == LogStream::Out).map(|line| line.message));
        }
    });
    read.await.unwrap_or_else(|_| Err(std::io::Error::other(ending().message)))
}

/// Compares one cache's list with what was printed of it; so many files, or the first difference.
fn same(entries: &[Entry], lines: &[String]) -> Result<u64, String> {
    let mut printed: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for line in lines {
        match line.strip_prefix("large ./") {
            Some(path) => printed.insert(path, None),
            None => match line.split_once("  ./") {
                Some((digest, path)) => printed.insert(path, Some(digest)),
                None => continue,
            },
        };
    }
    let mut count = 0;
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        let Some(path) = plain(&entry.path) else { continue };
        let digest = printed.remove(path.as_str()).ok_or_else(|| format!("{path} is not there"))?;
        let expect = entry.digest.as_ref().filter(|_| entry.size <= WHOLE_MAX_BYTES).map(|digest| digest.as_str());
        let expect = expect.map(|digest| digest.trim_start_matches("sha256:"));
        if expect != digest {
            return Err(format!("{path} has other content"));
        }
        count += 1;
    }
    // Names that cannot stand in a line are left to the agent's own look.
    match printed.into_keys().next().filter(|_| entries.iter().all(|entry| plain(&entry.path).is_some())) {
        Some(path) => Err(format!("{path} is there, too")),
        None => Ok(count),
    }
}

/// A path as it stands in a line; `None` where it cannot.
fn plain(path: &str) -> Option<String> {
    let text = percent_decode_str(path).decode_utf8().ok()?.into_owned();
    (!text.contains(['\n', '\r', '\\'])).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coord_shared::names::Digest;

    fn file(path: &str, content: &str) -> Entry {
        let size = content.len() as u64;
        let (kind, digest) = (EntryKind::File, Some(Digest::of(content.as_bytes())));
        Entry { path: path.to_owned(), kind, mode: 0o644, size, digest, sample: None, target: None }
    }

    fn line(path: &str, content: &str) -> String {
        format!("{}  ./{path}", Digest::of(content.as_bytes()).as_str().trim_start_matches("sha256:"))
    }

    #[test]
    fn what_is_printed_is_compared() {
        let large = Entry { size: WHOLE_MAX_BYTES + 1, ..file("large.bin", "") };
        let entries = [file("a", "1"), file("b/c d", "2"), file("odd%0Aname", "3"), large];
        let check = |lines: &[String], expect: Result<u64, &str>| match (same(&entries, lines), expect) {
            (Err(found), Err(part)) => assert!(found.contains(part), "{found}"),
            (found, expect) => assert_eq!(found.ok(), expect.ok(), "{lines:?}"),
        };
        let good = [line("a", "1"), line("b/c d", "2"), "large ./large.bin".to_owned()];
        check(&good, Ok(3));
        check(&[good.as_slice(), &["odd".to_owned(), line("name", "3")]].concat(), Ok(3));
        check(&good[1..], Err("a is not there"));
        check(&[line("a", "x"), good[1].clone(), good[2].clone()], Err("a has other content"));
        let only = [file("a", "1")];
        assert!(same(&only, &[line("a", "1"), line("z", "9")]).is_err_and(|found| found.contains("z is there, too")));
    }
}
