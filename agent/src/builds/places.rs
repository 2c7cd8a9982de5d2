//! Where everything of builds lies.
//!
//! ```text
//!   STATE/builds/runs/RUN/{state.json, log, archive}      one run, until nobody asks for it any more
//!   STATE/builds/work/PIPELINE/{workspace, kept, caches/HASH}
//!   STATE/builds/raw/ID.jsonl                             what a step's container prints, as its monitor writes it
//!   STATE/builds/c/ID, RUN/builds/c/ID                    the containers of steps, as the runtime keeps them
//!   STATE/builds/host                                     the root of steps without an image
//!   RUN/builds/{raw/ID.jsonl, images/RUN}                 the same of steps with secrets; the images that a run uses
//! ```
//! All of it is closed to other users: what lies in a workspace belongs to root on the disk.

use super::error::BuildError;
use coord_shared::names::{ContainerId, Digest, InstanceId, PipelineName, Revision, RunId, WorkloadName};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// A handful of digests.
const IMAGES_FILE_MAX_BYTES: u64 = 64 * 1024;
/// No workload's container is named so: `_` is in no name of a workload.
const CONTAINER_PREFIX: &str = "build_";

/// The folders of builds.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) state: PathBuf,
    pub(super) run: PathBuf,
}

impl Places {
    pub(super) fn new(state_dir: &Path, run_dir: &Path) -> Self {
        Self { state: state_dir.join("builds"), run: run_dir.join("builds") }
    }

    /// Makes those that are there always.
    pub(super) fn make(&self) -> Result<(), BuildError> {
        let (state, run) = (&self.state, &self.run);
        for path in [state.join("runs"), state.join("work"), state.join("raw"), run.join("raw"), run.join("images")] {
            make_folder(&path)?;
        }
        Ok(())
    }

    pub(super) fn runs(&self) -> PathBuf {
        self.state.join("runs")
    }

    pub(super) fn of_run(&self, run: &RunId) -> PathBuf {
        self.runs().join(run.to_string())
    }

    pub(super) fn log(&self, run: &RunId) -> PathBuf {
        self.of_run(run).join("log")
    }

    pub(super) fn archive(&self, run: &RunId) -> PathBuf {
        self.of_run(run).join("archive")
    }

    pub(super) fn works(&self) -> PathBuf {
        self.state.join("work")
    }

    pub(super) fn work(&self, pipeline: &PipelineName) -> PathBuf {
        self.works().join(pipeline.as_ref())
    }

    pub(super) fn workspace(&self, pipeline: &PipelineName) -> PathBuf {
        self.work(pipeline).join("workspace")
    }

    /// What is kept of the source between runs.
    pub(super) fn kept(&self, pipeline: &PipelineName) -> PathBuf {
        self.work(pipeline).join("kept")
    }

    pub(super) fn caches(&self, pipeline: &PipelineName) -> PathBuf {
        self.work(pipeline).join("caches")
    }

    /// What a step prints; in memory where it knows secrets.
    pub(super) fn raw_log(&self, container: &str, in_memory: bool) -> PathBuf {
        let folder = if in_memory { &self.run } else { &self.state };
        folder.join("raw").join(format!("{container}.jsonl"))
    }

    /// What a container has changed of its root.
    pub(super) fn upper(&self, container: &str) -> PathBuf {
        self.state.join("c").join(container).join("upper")
    }

    pub(super) fn host_root(&self) -> PathBuf {
        self.state.join("host")
    }

    fn images(&self, run: &RunId) -> PathBuf {
        self.run.join("images").join(run.to_string())
    }

    /// Notes which images a run uses: from then on nobody removes them.
    pub(super) fn note_images<'a>(&self, run: &RunId, images: impl Iterator<Item = &'a Digest>) -> Result<(), BuildError> {
        let path = self.images(run);
        let text: String = images.map(|digest| format!("{digest}\n")).collect();
        fs::write(&path, text).map_err(BuildError::file("write", &path))
    }

    /// The run uses none any more.
    pub(super) fn forget_images(&self, run: &RunId) {
        // One that stays is forgotten with the next boot.
        let _ = fs::remove_file(self.images(run));
    }

    /// The runs that have a folder.
    pub(super) fn known_runs(&self) -> Vec<RunId> {
        names(&self.runs()).into_iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Whether earlier agents may have left containers.
    pub(super) fn has_containers(&self) -> bool {
        [&self.state, &self.run].iter().any(|folder| !names(&folder.join("c")).is_empty())
    }
}

/// The container of a step.
pub(super) fn container(run: &RunId, step: &str, attempt: u32) -> String {
    format!("{}{step}-{attempt}", container_prefix(run))
}

/// How the names of a run's containers begin.
pub(super) fn container_prefix(run: &RunId) -> String {
    format!("{CONTAINER_PREFIX}{run}-")
}

/// As people are shown the container of a step, who know instances: `build-shop.12` is a step of the run `shop.12`. `None` for others.
pub(super) fn shown_as(container: &str) -> Option<ContainerId> {
    // RUN-STAGE.INDEX-ATTEMPT, and a pipeline's name may have dashes in it.
    let (rest, attempt) = container.strip_prefix(CONTAINER_PREFIX)?.rsplit_once('-')?;
    let run: RunId = rest.rsplit_once('-')?.0.parse().ok()?;
    let start = attempt.parse().ok()?;
    let workload = format!("build-{}", run.pipeline).parse().or_else(|_| "build".parse::<WorkloadName>()).ok()?;
    let instance = InstanceId { workload, index: u32::try_from(run.number).unwrap_or(u32::MAX) };
    Some(ContainerId { instance, revision: Revision(1), start })
}

/// The images that runs use.
pub(super) fn images(run_dir: &Path) -> BTreeSet<Digest> {
    let folder = Places::new(Path::new(""), run_dir).run.join("images");
    let noted = names(&folder).into_iter().filter_map(|name| read(&folder.join(name)).ok());
    noted.flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Makes a folder and its parents, closed to other users.
pub(super) fn make_folder(path: &Path) -> Result<(), BuildError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(BuildError::file("make", path))
}

/// The names in a folder; none where there is no folder.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn read(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(path)?.take(IMAGES_FILE_MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_shown_as_instances_of_their_builds() {
        let check = |run: &str, step: &str, expect: &str| {
            let container = container(&run.parse().expect("a run"), step, 2);
            assert_eq!(shown_as(&container).map(|id| id.to_string()).as_deref(), Some(expect), "{container}");
            assert!(container.parse::<ContainerId>().is_err(), "{container} must not be taken for an instance's");
        };
        check("shop.12", "build.0", "build-shop.12-r1-2");
        check("a-b-c.7", "test.11", "build-a-b-c.7-r1-2");
        let long = "x".repeat(63);
        check(&format!("{long}.1"), "build.0", "build.1-r1-2");
        assert_eq!(shown_as("web.0-r1-1"), None);
    }
}
