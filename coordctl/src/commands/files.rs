//! Files on disk: which ones are meant, their texts, and what each declares.
//!
//! A document is named by its workload (`web.toml`) and a pipeline by itself (`shop.toml`), because that is how the coordinator's folders
//! read them too. Of a folder, the TOML files in it are taken and everything else is left alone, what editors leave behind above all.

use crate::failure::Failure;
use coord_shared::document::{DOCUMENT_MAX_BYTES, Diagnostics, workload_name};
use coord_shared::kind::Kind;
use coord_shared::names::{NameError, PipelineName, WorkloadName};
use coord_shared::{document, pipeline, recipe};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What a file declares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// A workload.
    Document(WorkloadName),
    /// A pipeline.
    Pipeline(PipelineName),
    /// An image; the recipe has no name, and so its path stands here.
    Recipe(PathBuf),
}

impl Subject {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Document(_) => Kind::Document,
            Self::Pipeline(_) => Kind::Pipeline,
            Self::Recipe(_) => Kind::Recipe,
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Document(workload) => write!(f, "the document of {workload}"),
            Self::Pipeline(pipeline) => write!(f, "the pipeline {pipeline}"),
            Self::Recipe(path) => write!(f, "the recipe {}", path.display()),
        }
    }
}

/// One file's text, and what it declares.
#[derive(Debug, Clone)]
pub(super) struct TextFile {
    /// As the person named it.
    pub(super) path: PathBuf,
    pub(super) subject: Subject,
    pub(super) text: String,
}

impl TextFile {
    /// What is wrong with it.
    pub(super) fn diagnostics(&self) -> Option<Diagnostics> {
        match self.subject {
            Subject::Document(_) => document::parse(&self.text).err(),
            Subject::Pipeline(_) => pipeline::parse(&self.text).err(),
            Subject::Recipe(_) => recipe::parse(&self.text).err(),
        }
    }
}

/// One document's text.
#[derive(Debug, Clone)]
pub(super) struct DocumentFile {
    /// As the person named it.
    pub(super) path: PathBuf,
    /// From the file's name.
    pub(super) workload: WorkloadName,
    pub(super) text: String,
}

/// One pipeline's text.
#[derive(Debug, Clone)]
pub(super) struct PipelineFile {
    /// As the person named it.
    pub(super) path: PathBuf,
    /// From the file's name.
    pub(super) name: PipelineName,
    pub(super) text: String,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not named as a document", path.display())]
    NoDocument { path: PathBuf },
    #[error("{} names no {what}", path.display())]
    BadName { path: PathBuf, what: &'static str, source: NameError },
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is larger than {DOCUMENT_MAX_BYTES} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("{} is not UTF-8: byte {at} ends no character", path.display())]
    NotUtf8 { path: PathBuf, at: usize },
    #[error("{} and {} are both {subject}", path.display(), other.display())]
    Twice { path: PathBuf, other: PathBuf, subject: Subject },
    #[error("{} holds no documents", path.display())]
    EmptyFolder { path: PathBuf },
    #[error("{} is a {}, not a document", path.display(), kind.noun())]
    OtherKind { path: PathBuf, kind: Kind },
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
            | Self::EmptyFolder { path }
            | Self::OtherKind { path, .. } => path,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } | Self::NotAFile { .. } => return None,
            Self::BadName { what: "pipeline", .. } => "a pipeline is called PIPELINE.toml, for example shop.toml".to_owned(),
            Self::NoDocument { .. } | Self::BadName { .. } | Self::EmptyFolder { .. } => {
                "a document is called WORKLOAD.toml, for example web.toml".to_owned()
            }
            Self::TooLarge { .. } => "keep data in the image or in the environment; a document only says what to run".to_owned(),
            Self::NotUtf8 { .. } => "save it as UTF-8".to_owned(),
            Self::Twice { .. } => "rename or leave out one of them".to_owned(),
            Self::OtherKind { kind: Kind::Pipeline, .. } => "give it to the coordinator by `coordctl pipeline apply`".to_owned(),
            Self::OtherKind { .. } => "a recipe is named by `coordctl image build --recipe`".to_owned(),
        })
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::of(&error).maybe_hint(error.hint())
    }
}

/// Reads every file that `paths` name, in order; a folder's by name. All errors are gathered. `kind` is what they are where that is known.
pub(super) fn load(paths: &[PathBuf], kind: Option<Kind>) -> (Vec<TextFile>, Vec<FileError>) {
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    let mut seen: BTreeMap<Subject, PathBuf> = BTreeMap::new();
    for path in paths {
        let listed = if path.is_dir() { list_folder(path) } else { Ok(vec![path.clone()]) };
        let loaded = match listed {
            Ok(listed) => listed.into_iter().map(|path| load_one(path, kind)).collect(),
            Err(error) => vec![Err(error)],
        };
        for file in loaded {
            match file {
                Ok(file) => match seen.insert(file.subject.clone(), file.path.clone()) {
                    Some(other) if other == file.path => {}
                    Some(other) => errors.push(FileError::Twice { path: file.path, other, subject: file.subject }),
                    None => files.push(file),
                },
                Err(error) => errors.push(error),
            }
        }
    }
    (files, errors)
}

/// The paths of a folder's TOML files, those with impossible names included.
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

fn load_one(path: PathBuf, kind: Option<Kind>) -> Result<TextFile, FileError> {
    let Some(file) = path.file_name().and_then(OsStr::to_str).filter(|file| workload_name(file).is_some()).map(str::to_owned)
    else {
        return Err(FileError::NoDocument { path });
    };
    let text = match read(&path) {
        Ok(text) => text,
        // What a name says about is said first: it needs no look at the disk.
        Err(error) => {
            return Err(match workload_name(&file) {
                Some(Err(source)) => FileError::BadName { path, what: "workload", source },
                _ => error,
            });
        }
    };
    let kind = kind.unwrap_or_else(|| Kind::of(folder_of(&path).as_deref(), &file, &text));
    let stem = file.strip_suffix(".toml").unwrap_or(&file);
    let subject = match kind {
        Kind::Document => stem.parse().map(Subject::Document).map_err(|error| ("workload", error)),
        Kind::Pipeline => stem.parse().map(Subject::Pipeline).map_err(|error| ("pipeline", error)),
        Kind::Recipe => Ok(Subject::Recipe(path.clone())),
    };
    match subject {
        Ok(subject) => Ok(TextFile { path, subject, text }),
        Err((what, source)) => Err(FileError::BadName { path, what, source }),
    }
}

/// The name of the folder in which a file lies.
fn folder_of(path: &Path) -> Option<String> {
    let whole = std::fs::canonicalize(path).ok()?;
    whole.parent()?.file_name()?.to_str().map(str::to_owned)
}

fn read(path: &Path) -> Result<String, FileError> {
    let path_of = || path.to_owned();
    match std::fs::metadata(path) {
        Err(source) => return Err(FileError::Read { path: path_of(), source }),
        // Opening a FIFO would wait for its writer for ever.
        Ok(meta) if !meta.is_file() => return Err(FileError::NotAFile { path: path_of() }),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(DOCUMENT_MAX_BYTES as u64 + 1).read_to_end(&mut bytes));
    match read {
        Err(source) => Err(FileError::Read { path: path_of(), source }),
        Ok(length) if length > DOCUMENT_MAX_BYTES => Err(FileError::TooLarge { path: path_of() }),
        Ok(_) => {
            String::from_utf8(bytes).map_err(|error| FileError::NotUtf8 { path: path_of(), at: error.utf8_error().valid_up_to() })
        }
    }
}

/// Reads and checks the documents, or fails with everything that is wrong with any of them: nothing is sent of a bad set.
pub(super) fn load_good(paths: &[PathBuf], color: bool) -> Result<Vec<DocumentFile>, Failure> {
    let (files, mut errors) = load(paths, None);
    let (documents, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.subject.kind() == Kind::Document);
    errors.extend(others.into_iter().map(|file| FileError::OtherKind { kind: file.subject.kind(), path: file.path }));
    let documents = all_good(documents, errors, color)?;
    let document = |file: TextFile| match file.subject {
        Subject::Document(workload) => Some(DocumentFile { path: file.path, workload, text: file.text }),
        Subject::Pipeline(_) | Subject::Recipe(_) => None,
    };
    Ok(documents.into_iter().filter_map(document).collect())
}

/// The same for pipelines. Whatever a file looks like, it is taken for one: whoever says `pipeline apply` means that.
pub(super) fn load_good_pipelines(paths: &[PathBuf], color: bool) -> Result<Vec<PipelineFile>, Failure> {
    let (files, errors) = load(paths, Some(Kind::Pipeline));
    let pipeline = |file: TextFile| match file.subject {
        Subject::Pipeline(name) => Some(PipelineFile { path: file.path, name, text: file.text }),
        Subject::Document(_) | Subject::Recipe(_) => None,
    };
    Ok(all_good(files, errors, color)?.into_iter().filter_map(pipeline).collect())
}

/// The files, if nothing is wrong with any.
fn all_good(files: Vec<TextFile>, errors: Vec<FileError>, color: bool) -> Result<Vec<TextFile>, Failure> {
    let bad: Vec<(&TextFile, Diagnostics)> = files.iter().filter_map(|file| Some((file, file.diagnostics()?))).collect();
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
