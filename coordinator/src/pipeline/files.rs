//! The folder of a run: its archive while that is needed, its log as long as the run is known.
//!
//! ```text
//!   DATA_DIR/runs/NAME/NUMBER/archive.part-1   as it comes from the first builder
//!                             archive          whole and checked
//!                             log-1.jsonl      what the first builder sent
//!                             log-1.dropped    what was left out of it because it was full
//! ```
//!
//! A file under its final name is whole and on the disk. What is here and in no record is removed at the next start.

use coord_shared::names::{PipelineName, RunId};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// What of a run is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Everything: it is not over.
    All,
    /// Its log: it is over.
    Log,
}

/// The folders of all runs.
#[derive(Debug, Clone)]
pub struct RunFiles {
    root: PathBuf,
}

impl RunFiles {
    /// Below the coordinator's data folder.
    pub fn new(data_dir: &Path) -> Self {
        Self { root: data_dir.join("runs") }
    }

    /// The archive, once it is whole.
    pub fn archive(&self, run: &RunId) -> PathBuf {
        self.folder(run).join("archive")
    }

    /// The archive as it comes, from the builder that was the `attempt`th.
    pub(super) fn part(&self, run: &RunId, attempt: u32) -> PathBuf {
        self.folder(run).join(format!("archive.part-{attempt}"))
    }

    /// The log that the `attempt`th builder sent.
    pub(super) fn log(&self, run: &RunId, attempt: u32) -> PathBuf {
        self.folder(run).join(format!("log-{attempt}.jsonl"))
    }

    /// What was left out of that log.
    pub(super) fn dropped(&self, run: &RunId, attempt: u32) -> PathBuf {
        self.folder(run).join(format!("log-{attempt}.dropped"))
    }

    pub(super) fn folder(&self, run: &RunId) -> PathBuf {
        self.root.join(run.pipeline.as_str()).join(run.number.to_string())
    }

    /// Makes the run's folder, so that it outlives a loss of power.
    pub(super) fn make(&self, run: &RunId) -> io::Result<()> {
        let folder = self.folder(run);
        if folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&folder)?;
        for parent in folder.ancestors().skip(1).take(3) {
            sync_folder(parent)?;
        }
        Ok(())
    }

    /// Removes the archive of a run that is over.
    pub(super) fn drop_archives(&self, run: &RunId) -> io::Result<()> {
        let folder = match fs::read_dir(self.folder(run)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in folder {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name == "archive" || name.starts_with("archive.part-")) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes all of a run.
    pub(super) fn remove(&self, run: &RunId) -> io::Result<()> {
        match fs::remove_dir_all(self.folder(run)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        // Fails while the pipeline has other runs.
        let _ = fs::remove_dir(self.root.join(run.pipeline.as_str()));
        Ok(())
    }

    /// Removes what an earlier process left behind: folders of runs that are not in `known`, archives of those that are over.
    pub(super) fn sweep(&self, known: &BTreeMap<RunId, Keep>) -> io::Result<()> {
        for run in self.present()? {
            match known.get(&run) {
                None => self.remove(&run)?,
                Some(Keep::Log) => self.drop_archives(&run)?,
                Some(Keep::All) => {}
            }
        }
        Ok(())
    }

    /// The runs that have a folder.
    fn present(&self) -> io::Result<Vec<RunId>> {
        let mut runs = Vec::new();
        for pipeline in names(&self.root)? {
            let Ok(name) = pipeline.parse::<PipelineName>() else { continue };
            let numbers = names(&self.root.join(&pipeline))?;
            let numbers = numbers.iter().filter_map(|number| number.parse().ok());
            runs.extend(numbers.map(|number| RunId { pipeline: name.clone(), number }));
        }
        Ok(runs)
    }
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

/// Makes the names in a folder outlive a loss of power.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
