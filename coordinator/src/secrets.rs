//! Secrets: a folder with a file for each, whose name is the secret's.
//!
//! Read whenever somebody needs one, so that a changed file counts at once; nothing is kept here, and nothing written. A file that others
//! on this machine may read is refused: it is no secret. Deliberately absent: a way to set or to see one from afar.

use coord_shared::names::SecretName;
use coord_shared::pipeline::Pipeline;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Largest secret, in bytes: a private key of the largest kind, with the keys of many servers.
pub const SECRET_MAX_BYTES: u64 = 64 * 1024;
/// Rights of group and others.
const OTHERS: u32 = 0o077;

/// The folder.
#[derive(Debug, Clone)]
pub struct Secrets {
    folder: PathBuf,
}

/// The text of a secret. Shown to nobody by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, without spaces and line ends around it.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// There is no such file.
    #[error("there is no secret {name}; write it into {path} on the coordinator (mode 0600)")]
    Unknown {
        /// Which.
        name: SecretName,
        /// Where it should be.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("the secret {name} may be read by others (mode {mode:04o}); chmod 600 {path}")]
    Open {
        /// Which.
        name: SecretName,
        /// Its rights.
        mode: u32,
        /// Its file.
        path: PathBuf,
    },
    /// It is no secret's size or kind.
    #[error("the secret {name} in {path} {problem}")]
    Unfit {
        /// Which.
        name: SecretName,
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read the secret {name} in {path}")]
    Read {
        /// Which.
        name: SecretName,
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder cannot be read.
    #[error("cannot read the folder of secrets {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Secrets {
    /// Those of a folder, which need not be there.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// One secret, as it is now.
    ///
    /// # Errors
    /// It is not there, too open, or no text; the message has the cure.
    pub fn read(&self, name: &SecretName) -> Result<Secret, SecretError> {
        // The name has no `/`, and does not begin with a dot.
        let path = self.folder.join(name.as_str());
        let fail = |source: io::Error| {
            let (name, path) = (name.clone(), path.clone());
            if source.kind() == io::ErrorKind::NotFound {
                SecretError::Unknown { name, path }
            } else {
                SecretError::Read { name, path, source }
            }
        };
        let unfit = |problem| SecretError::Unfit { name: name.clone(), path: path.clone(), problem };
        // Before it is opened: a pipe would wait for a writer.
        let metadata = std::fs::metadata(&path).map_err(fail)?;
        if !metadata.is_file() {
            return Err(unfit("is not a file"));
        }
        let file = File::open(&path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.mode() & 0o7777;
        if mode & OTHERS != 0 {
            return Err(SecretError::Open { name: name.clone(), mode, path: path.clone() });
        }
        let mut bytes = Vec::new();
        file.take(SECRET_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.len() as u64 > SECRET_MAX_BYTES {
            return Err(unfit("is larger than 64 KiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| unfit("is not UTF-8 text"))?;
        match text.trim() {
            "" => Err(unfit("is empty")),
            text => Ok(Secret(text.to_owned())),
        }
    }

    /// The names of all there are.
    ///
    /// # Errors
    /// The folder cannot be read; one that is not there has none.
    pub fn names(&self) -> Result<Vec<SecretName>, SecretError> {
        let fail = |source| SecretError::Folder { path: self.folder.clone(), source };
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(fail)?,
        };
        let mut names = BTreeSet::new();
        for entry in entries {
            let entry = entry.map_err(fail)?;
            // What cannot be a secret's name is none: an editor's backup, a hidden file.
            let name = entry.file_name().to_str().and_then(|name| name.parse::<SecretName>().ok());
            names.extend(name.filter(|_| entry.path().is_file()));
        }
        Ok(names.into_iter().collect())
    }
}

/// What a host that looks at a pipeline's source needs.
pub fn needed_to_look(pipeline: &Pipeline) -> BTreeSet<SecretName> {
    pipeline.source.credentials.iter().cloned().collect()
}

/// What a host that builds a run of the pipeline needs. The secret of its webhook stays here.
pub fn needed_to_build(pipeline: &Pipeline) -> BTreeSet<SecretName> {
    let stages = [&pipeline.build, &pipeline.test];
    let steps = stages.into_iter().flatten().flat_map(|stage| stage.secrets.values().cloned());
    needed_to_look(pipeline).into_iter().chain(steps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn write(folder: &Path, name: &str, bytes: &[u8], mode: u32) {
        let path = folder.join(name);
        std::fs::write(&path, bytes).expect("writes");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("sets rights");
    }

    #[test]
    fn a_secret_is_a_file_that_nobody_else_may_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let secrets = Secrets::new(dir.path());
        write(dir.path(), "token", b" sesame\n", 0o600);
        write(dir.path(), "open", b"sesame", 0o640);
        write(dir.path(), "empty", b"\n", 0o600);
        write(dir.path(), "binary", b"\xff", 0o600);
        write(dir.path(), "large", &vec![b'x'; 64 * 1024 + 1], 0o600);
        std::fs::create_dir(dir.path().join("folder")).expect("makes");
        let read = |name: &str| secrets.read(&name.parse().expect("a name"));
        let secret = read("token").expect("reads");
        assert_eq!(secret.text(), "sesame");
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        let check = |name: &str, words: &str| {
            let error = read(name).expect_err(name).to_string();
            assert!(error.contains(words) && !error.contains("sesame"), "{error}");
        };
        check("none", "there is no secret none; write it into");
        check("open", "may be read by others (mode 0640); chmod 600");
        check("empty", "is empty");
        check("binary", "is not UTF-8");
        check("large", "is larger than 64 KiB");
        check("folder", "is not a file");
        write(dir.path(), ".hidden", b"x", 0o600);
        let names: Vec<String> = secrets.names().expect("lists").iter().map(ToString::to_string).collect();
        assert_eq!(names, ["binary", "empty", "large", "open", "token"]);
        assert_eq!(Secrets::new(&dir.path().join("none")).names().expect("lists"), []);
    }
}
