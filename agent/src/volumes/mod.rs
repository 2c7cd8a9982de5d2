//! Volumes: folders of this host that outlive the containers which use them.
//!
//! ```text
//!   STATE/volumes/NAME/_data         what containers see; made with the first container that wants it
//!                     /volume.json   when and for whom; for people, decides nothing
//!                 .new-*             one that is being made       swept at the agent's start
//!                 .gone-*            one that is being deleted    finished at the agent's start
//! ```
//! A volume appears by one rename and goes by one rename. Who uses it is read from the kernel (`users`), and, while a container is
//! being made, from what was claimed for it. Deliberately absent: anything that deletes a volume without having been asked by a person,
//! and any knowledge of documents.

mod bodies;
mod delete;
mod error;
mod record;
mod size;
#[cfg(test)]
mod tests;
mod users;

pub use bodies::{RemoveAsked, VolumeDetails};
pub(crate) use delete::delete;
pub use error::VolumesError;
pub use record::Origin;

use crate::clock;
use coord_shared::names::{ContainerId, Digest, InstanceId, VolumeName};
use coord_shared::wire::{ErrorBody, VolumeView, VolumesRequest, VolumesView};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What containers see of a volume.
const DATA: &str = "_data";
/// How the names of folders begin that are no volumes yet, and of those that are none any more. No volume's name begins with a dot.
const NEW_PREFIX: &str = ".new-";
const GONE_PREFIX: &str = ".gone-";
/// How long counting the sizes of all volumes may take; whoever waits longer had better ask for one of them.
const LIST_TIME_MAX: Duration = Duration::from_secs(3);
/// The same for one.
const INSPECT_TIME_MAX: Duration = Duration::from_secs(30);
/// Hexadecimal digits of a target's digest in the name of an instance's own volume: two targets of one instance never share them.
const TARGET_DIGITS: usize = 12;

/// The volumes of a host.
#[derive(Debug, Clone)]
pub struct Volumes {
    folder: PathBuf,
    state_dir: PathBuf,
    run_dir: PathBuf,
    /// Containers that are being made, which the kernel does not show yet.
    claims: Arc<Mutex<BTreeMap<VolumeName, BTreeSet<ContainerId>>>>,
}

/// The name of an instance's own volume for what is mounted at `target`: the same for every container of that instance.
pub fn own_name(instance: &InstanceId, target: &str) -> Result<VolumeName, VolumesError> {
    let digest = Digest::of(target.as_bytes());
    let digits: String = digest.as_str().rsplit(':').next().unwrap_or_default().chars().take(TARGET_DIGITS).collect();
    // A workload's name is at most 63 characters long, so this is always a name.
    format!("{instance}.{digits}").parse().map_err(VolumesError::Name)
}

impl Volumes {
    /// Those of the agent with these folders. Touches nothing.
    pub fn new(state_dir: &Path, run_dir: &Path) -> Self {
        Self {
            folder: state_dir.join("volumes"),
            state_dir: state_dir.to_owned(),
            run_dir: run_dir.to_owned(),
            claims: Arc::default(),
        }
    }

    /// Where they lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The agent's folders, of which containers see nothing but volumes.
    pub fn own_folders(&self) -> [&Path; 2] {
        [&self.state_dir, &self.run_dir]
    }

    /// Finishes what an earlier agent had begun. To be called while nobody else is at work; may take long where much is to be deleted.
    pub fn sweep(&self) {
        for name in self.entries().unwrap_or_default() {
            if (name.starts_with(NEW_PREFIX) || name.starts_with(GONE_PREFIX))
                && let Err(error) = delete::delete(&self.folder.join(&name))
            {
                tracing::warn!(folder = name, %error, "cannot remove what is left of a volume");
            }
        }
    }

    /// The folder of a volume's content, made where there is none; `container` counts as one that uses it until [`Self::release`].
    /// Blocks.
    ///
    /// # Errors
    /// When it cannot be made, or what lies there is no volume.
    pub fn claim(&self, name: &VolumeName, container: &ContainerId, origin: &Origin) -> Result<PathBuf, VolumesError> {
        self.claims().entry(name.clone()).or_default().insert(container.clone());
        let data = self.data(name);
        match data.symlink_metadata() {
            Ok(found) if found.is_dir() => return Ok(data),
            Ok(_) => return Err(VolumesError::NotAFolder { path: data }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(VolumesError::File { operation: "look at", path: data, source }),
        }
        self.make(name, origin)?;
        Ok(data)
    }

    /// The container has been started, or has not: what it uses now, the kernel knows.
    pub fn release(&self, container: &ContainerId) {
        self.claims().retain(|_, by| {
            by.remove(container);
            !by.is_empty()
        });
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// When the folder, or who uses what, cannot be read.
    pub async fn list(&self) -> Result<VolumesView, VolumesError> {
        self.blocking(|volumes| {
            let names = volumes.names()?;
            let users = volumes.users()?;
            let until = clock::now().mono.0 + LIST_TIME_MAX;
            let view = |name: VolumeName| volumes.view(&name, &users, until);
            Ok(VolumesView { volumes: names.into_iter().map(view).collect() })
        })
        .await
    }

    /// Everything about one.
    ///
    /// # Errors
    /// `NotFound`; and as [`Self::list`].
    pub async fn inspect(&self, name: &VolumeName) -> Result<VolumeDetails, VolumesError> {
        let name = name.clone();
        self.blocking(move |volumes| {
            volumes.must_exist(&name)?;
            let users = volumes.users()?;
            let view = volumes.view(&name, &users, clock::now().mono.0 + INSPECT_TIME_MAX);
            let labels = record::read(&volumes.folder.join(name.as_str())).map(|record| record.labels).unwrap_or_default();
            Ok(VolumeDetails { path: volumes.data(&name), view, labels })
        })
        .await
    }

    /// Deletes one and all that is in it. When it returns, its room is back.
    ///
    /// # Errors
    /// `NotFound`; `InUse` and `Mounted`, and then it is untouched; and when it cannot be deleted to its end.
    pub async fn remove(&self, name: &VolumeName) -> Result<(), VolumesError> {
        let name = name.clone();
        self.blocking(move |volumes| {
            let gone = volumes.hide(&name)?;
            tracing::info!(volume = %name, "deleting a volume");
            delete::delete(&gone)
        })
        .await
    }

    /// Answers what an admin asks through the coordinator.
    ///
    /// # Errors
    /// As the methods above, in words.
    pub async fn answer(&self, asked: &VolumesRequest) -> Result<serde_json::Value, ErrorBody> {
        match asked {
            // Plain data, which always serialises.
            VolumesRequest::List => Ok(serde_json::to_value(self.list().await?).unwrap_or_default()),
            VolumesRequest::Remove { name } => {
                self.remove(name).await?;
                Ok(serde_json::json!({}))
            }
        }
    }

    fn claims(&self) -> MutexGuard<'_, BTreeMap<VolumeName, BTreeSet<ContainerId>>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn data(&self, name: &VolumeName) -> PathBuf {
        self.folder.join(name.as_str()).join(DATA)
    }

    /// Makes a volume beside the others and gives it its name; who comes second takes the first one's.
    fn make(&self, name: &VolumeName, origin: &Origin) -> Result<(), VolumesError> {
        let fail = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| VolumesError::File { operation, path, source }
        };
        std::fs::create_dir_all(&self.folder).map_err(fail("make", &self.folder))?;
        let fresh = tempfile::Builder::new().prefix(NEW_PREFIX).tempdir_in(&self.folder).map_err(fail("make", &self.folder))?;
        let data = fresh.path().join(DATA);
        std::fs::create_dir(&data).map_err(fail("make", &data))?;
        // The umask is the service manager's; a volume is for whoever runs in the container.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&data, mode).map_err(fail("set the permissions of", &data))?;
        record::write(fresh.path(), name, origin)?;
        let path = self.folder.join(name.as_str());
        match std::fs::rename(fresh.path(), &path) {
            Ok(()) => {
                // It has another name now, under which it must not be removed.
                let _ = fresh.keep();
                tracing::info!(volume = %name, "made a volume");
            }
            Err(_) if self.data(name).is_dir() => {}
            Err(source) => return Err(VolumesError::File { operation: "make", path, source }),
        }
        let synced = std::fs::File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(fail("sync", &self.folder))
    }

    /// Takes a volume's name away, if nobody uses it; what is left lies at the path that it answers.
    fn hide(&self, name: &VolumeName) -> Result<PathBuf, VolumesError> {
        let claims = self.claims();
        self.must_exist(name)?;
        let mut by = users::users(&self.folder, &self.state_dir, &self.run_dir)?.remove(name).unwrap_or_default();
        by.extend(claims.get(name).into_iter().flatten().cloned());
        if !by.is_empty() {
            return Err(VolumesError::InUse { name: name.clone(), by: by.into_iter().collect() });
        }
        let path = self.folder.join(name.as_str());
        if let Some(at) = users::mounted_within(&path)? {
            return Err(VolumesError::Mounted { name: name.clone(), at });
        }
        let fail = |source| VolumesError::File { operation: "delete", path: path.clone(), source };
        let grave = tempfile::Builder::new().prefix(GONE_PREFIX).tempdir_in(&self.folder).map_err(fail)?.keep();
        std::fs::rename(&path, grave.join("0")).map_err(fail)?;
        std::fs::File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(fail)?;
        drop(claims);
        Ok(grave)
    }

    fn must_exist(&self, name: &VolumeName) -> Result<(), VolumesError> {
        let is_there = self.folder.join(name.as_str()).symlink_metadata().is_ok_and(|found| found.is_dir());
        if is_there { Ok(()) } else { Err(VolumesError::NotFound { name: name.clone() }) }
    }

    fn names(&self) -> Result<Vec<VolumeName>, VolumesError> {
        let is_folder = |name: &VolumeName| self.must_exist(name).is_ok();
        let mut names: Vec<VolumeName> =
            self.entries()?.into_iter().filter_map(|entry| entry.parse().ok()).filter(is_folder).collect();
        names.sort();
        Ok(names)
    }

    /// What lies in the folder; nothing where there is none.
    fn entries(&self) -> Result<Vec<String>, VolumesError> {
        let fail = |source| VolumesError::File { operation: "read", path: self.folder.clone(), source };
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(fail)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(fail)?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn users(&self) -> Result<users::Users, VolumesError> {
        let mut users = users::users(&self.folder, &self.state_dir, &self.run_dir)?;
        for (name, by) in self.claims().iter() {
            users.entry(name.clone()).or_default().extend(by.iter().cloned());
        }
        Ok(users)
    }

    fn view(&self, name: &VolumeName, users: &users::Users, until: Duration) -> VolumeView {
        let record = record::read(&self.folder.join(name.as_str()));
        let instance = record.as_ref().and_then(|record| record.instance.clone());
        VolumeView {
            name: name.clone(),
            created: record.as_ref().and_then(|record| record.created),
            anonymous: record.as_ref().is_some_and(|record| record.anonymous),
            instance,
            used_by: users.get(name).into_iter().flatten().cloned().collect(),
            disk_bytes: size::disk_bytes(&self.data(name), until),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, VolumesError> + Send + 'static,
    ) -> Result<T, VolumesError> {
        let volumes = self.clone();
        tokio::task::spawn_blocking(move || work(&volumes)).await.map_err(|_| VolumesError::Ending)?
    }
}
