//! Documents on disk: which files are meant, their texts, and whose documents they are.
//!
//! A file is named by its workload (`web.toml`), because that is how the coordinator's folder reads them too. Of a folder, the
//! documents in it are taken and everything else is left alone, what editors leave behind above all.

use crate::failure::Failure;
use coord_shared::document::{DOCUMENT_MAX_BYTES, Diagnostics, parse, workload_name};
use coord_shared::names::{NameError, WorkloadName};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

/// One document's text.
#[derive(Debug, Clone)]
pub(super) struct DocumentFile {
    /// As the person named it.
    pub(super) path: PathBuf,
    /// From the file's name.
    pub(super) workload: WorkloadName,
    pub(super) text: String,
}

impl DocumentFile {
    /// What is wrong with it.
    pub(super) fn diagnostics(&self) -> Option<Diagnostics> {
        parse(&self.text).err()
    }
}

/// Why a file is not taken as a document.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not named as a document", path.display())]
    NoDocument { path: PathBuf },
    #[error("{} names no workload", path.display())]
    BadName { path: PathBuf, source: NameError },
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is larger than {DOCUMENT_MAX_BYTES} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("{} is not UTF-8: byte {at} ends no character", path.display())]
    NotUtf8 { path: PathBuf, at: usize },
    #[error("{} and {} are both the document of {workload}", path.display(), other.display())]
    Twice { path: PathBuf, other: PathBuf, workload: WorkloadName },
    #[error("{} holds no documents", path.display())]
    EmptyFolder { path: PathBuf },
}

impl FileError {
    /// The file that it is about.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. }
            | Self::NoDocument { path }
            | Self::BadName { path, .. }
            | Self::NotAFile { path }
            | Self::TooLarge { path }
            | Self::NotUtf8 { path, .. }
            | Self::Twice { path, .. }
            | Self::EmptyFolder { path } => path,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } | Self::NotAFile { .. } => return None,
            Self::NoDocument { .. } | Self::BadName { .. } | Self::EmptyFolder { .. } => {
                "a document is called WORKLOAD.toml, for example web.toml".to_owned()
            }
            Self::TooLarge { .. } => "keep data in the image or in the environment; a document only says what to run".to_owned(),
            Self::NotUtf8 { .. } => "save it as UTF-8".to_owned(),
            Self::Twice { .. } => "a workload has one document; rename or leave out one of them".to_owned(),
        })
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::of(&error).maybe_hint(error.hint())
    }
}

/// Reads every document that `paths` name, in order; a folder's by name. All errors are gathered.
pub(super) fn load(paths: &[PathBuf]) -> (Vec<DocumentFile>, Vec<FileError>) {
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    let mut seen: BTreeMap<WorkloadName, PathBuf> = BTreeMap::new();
    for path in paths {
        let listed = if path.is_dir() { list_folder(path) } else { Ok(vec![path.clone()]) };
        let loaded = match listed {
            Ok(listed) => listed.into_iter().map(load_one).collect(),
            Err(error) => vec![Err(error)],
        };
        for file in loaded {
            match file {
                Ok(file) => match seen.insert(file.workload.clone(), file.path.clone()) {
                    Some(other) if other == file.path => {}
                    Some(other) => errors.push(FileError::Twice { path: file.path, other, workload: file.workload }),
                    None => files.push(file),
                },
                Err(error) => errors.push(error),
            }
        }
    }
    (files, errors)
}

/// The paths of a folder's documents, those with impossible names included.
fn list_folder(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let failed = |source| FileError::Read { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str().is_some_and(|name| workload_name(name).is_some()) {
            found.push(entry.path());
        }
    }
    found.sort();
    if found.is_empty() { Err(FileError::EmptyFolder { path: folder.to_owned() }) } else { Ok(found) }
}

fn load_one(path: PathBuf) -> Result<DocumentFile, FileError> {
    let named = path.file_name().and_then(OsStr::to_str).and_then(workload_name);
    let workload = match named {
        None => return Err(FileError::NoDocument { path }),
        Some(Err(source)) => return Err(FileError::BadName { path, source }),
        Some(Ok(workload)) => workload,
    };
    match std::fs::metadata(&path) {
        Err(source) => return Err(FileError::Read { path, source }),
        // Opening a FIFO would wait for its writer for ever.
        Ok(meta) if !meta.is_file() => return Err(FileError::NotAFile { path }),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(DOCUMENT_MAX_BYTES as u64 + 1).read_to_end(&mut bytes));
    match read {
        Err(source) => Err(FileError::Read { path, source }),
        Ok(length) if length > DOCUMENT_MAX_BYTES => Err(FileError::TooLarge { path }),
        Ok(_) => match String::from_utf8(bytes) {
            Ok(text) => Ok(DocumentFile { path, workload, text }),
            Err(error) => Err(FileError::NotUtf8 { path, at: error.utf8_error().valid_up_to() }),
        },
    }
}

/// Reads and checks the documents, or fails with everything that is wrong with any of them: nothing is sent of a bad set.
pub(super) fn load_good(paths: &[PathBuf], color: bool) -> Result<Vec<DocumentFile>, Failure> {
    let (files, errors) = load(paths);
    let bad: Vec<(&DocumentFile, Diagnostics)> = files.iter().filter_map(|file| Some((file, file.diagnostics()?))).collect();
    let mut details: Vec<String> = Vec::new();
    for (file, diagnostics) in &bad {
        details.push(diagnostics.render(&file.path.display().to_string(), &file.text, color));
    }
    if bad.is_empty() && errors.is_empty() {
        return Ok(files);
    }
    if bad.is_empty() && errors.len() == 1 {
        return Err(errors.into_iter().next().map_or_else(|| Failure::new("no files"), Failure::from));
    }
    let count = bad.len() + errors.len();
    details.extend(errors.into_iter().map(|error| Failure::from(error).message));
    let message = format!("{} cannot be used; nothing was sent", super::words::count(count, "file"));
    Err(Failure::new(message).detail(Some(details.join("\n"))))
}
