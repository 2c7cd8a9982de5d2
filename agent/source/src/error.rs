//! Why a source could not be had. Every message names the repository and ends with a cure, as far as there is one.

use coord_shared::names::Commit;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a source could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The program is missing.
    #[error("{program} is not installed on this host; install it (Debian: apt install {package}), or let another host build")]
    NotInstalled {
        /// The program.
        program: &'static str,
        /// What brings it.
        package: &'static str,
    },
    /// The program could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder of the host cannot be used.
    #[error("cannot {operation} {path}")]
    Folder {
        /// What was tried.
        operation: &'static str,
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Files would be mixed.
    #[error("the folder {0} for the source's files is not empty")]
    NotEmpty(PathBuf),
    /// An address that is not asked.
    #[error("source address {url:?} {problem}")]
    Address {
        /// As written, without credentials.
        url: String,
        /// What is wrong with it, and the cure.
        problem: String,
    },
    /// The secret does not fit.
    #[error("the secret for {url} {problem}")]
    Secret {
        /// The repository.
        url: String,
        /// What is wrong with it, and the cure.
        problem: &'static str,
    },
    /// Nothing was ever committed.
    #[error("{url} has no commit yet; push one")]
    Empty {
        /// The repository.
        url: String,
    },
    /// No such branch, tag or folder.
    #[error("{url} has no {what}; {cure}")]
    Reference {
        /// The repository.
        url: String,
        /// `branch main`.
        what: String,
        /// What to do.
        cure: String,
    },
    /// The commit is not there (any more).
    #[error(
        "{url} does not hold commit {commit} (any more): a forced push or a deleted branch took it away; run the pipeline again \
         to build what is there now"
    )]
    NoCommit {
        /// The repository.
        url: String,
        /// The commit.
        commit: Commit,
    },
    /// The time was over.
    #[error("{operation} {url} took longer than {} s; is the server slow, or the repository too large?", limit.as_secs())]
    TooSlow {
        /// `looking at`, `fetching`.
        operation: &'static str,
        /// The repository.
        url: String,
        /// The limit.
        limit: Duration,
    },
    /// The disk would be filled.
    #[error("{operation} {url}: {what}, more than this host allows")]
    TooLarge {
        /// `fetching`.
        operation: &'static str,
        /// The repository.
        url: String,
        /// What, with the limit.
        what: String,
    },
    /// The program said no.
    #[error("{operation} {url} failed: {said}{cure}")]
    Failed {
        /// `looking at`, `fetching`.
        operation: &'static str,
        /// The repository.
        url: String,
        /// The program's last words.
        said: String,
        /// What it is about.
        trouble: Trouble,
        /// `; ` and what to do, or nothing.
        cure: &'static str,
    },
    /// The program said something that is not understood.
    #[error("{program} gave an answer about {url} that is not understood: {what}")]
    Answer {
        /// The program.
        program: &'static str,
        /// The repository.
        url: String,
        /// What is missing in it.
        what: String,
    },
}

/// What a failure is about, as far as the program's words tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The server wants to know who asks, or refuses him.
    Credentials,
    /// The server's ssh key is not the known one.
    HostKey,
    /// The server cannot be reached.
    Unreachable,
    /// There is no such repository, or it is not shown to us.
    Missing,
    /// A protocol that is not spoken here.
    Protocol,
    /// The repository holds what a healthy one does not.
    Unsound,
    /// This host's disk is full.
    Disk,
    /// Anything else.
    Other,
}

/// What programs say in each case; the first that fits counts.
const WORDS: &[(&str, Trouble)] = &[
    ("host key verification failed", Trouble::HostKey),
    ("host identification has changed", Trouble::HostKey),
    ("authentication failed", Trouble::Credentials),
    ("authorization failed", Trouble::Credentials),
    ("could not read username", Trouble::Credentials),
    ("could not read password", Trouble::Credentials),
    ("terminal prompts disabled", Trouble::Credentials),
    ("permission denied (", Trouble::Credentials),
    ("returned error: 401", Trouble::Credentials),
    ("returned error: 403", Trouble::Credentials),
    ("e170001", Trouble::Credentials),
    ("e215004", Trouble::Credentials),
    ("403 forbidden", Trouble::Credentials),
    ("not allowed", Trouble::Protocol),
    ("could not resolve host", Trouble::Unreachable),
    ("could not resolve hostname", Trouble::Unreachable),
    ("name or service not known", Trouble::Unreachable),
    ("unknown hostname", Trouble::Unreachable),
    ("connection refused", Trouble::Unreachable),
    ("connection reset", Trouble::Unreachable),
    ("failed to connect", Trouble::Unreachable),
    ("can't connect", Trouble::Unreachable),
    ("unable to connect", Trouble::Unreachable),
    ("timed out", Trouble::Unreachable),
    ("operation too slow", Trouble::Unreachable),
    ("no space left", Trouble::Disk),
    ("file too large", Trouble::Disk),
    ("fsck error", Trouble::Unsound),
    ("error in object", Trouble::Unsound),
    ("invalid path", Trouble::Unsound),
    ("does not appear to be a git repository", Trouble::Missing),
    ("repository not found", Trouble::Missing),
    ("no repository found", Trouble::Missing),
    ("not found", Trouble::Missing),
    ("does not exist", Trouble::Missing),
    ("non-existent", Trouble::Missing),
    ("e170000", Trouble::Missing),
    ("e180001", Trouble::Missing),
    ("e160006", Trouble::Missing),
];

impl Trouble {
    /// What the words of a program are about.
    pub(crate) fn of(said: &str) -> Self {
        let said = said.to_lowercase();
        WORDS.iter().find(|(words, _)| said.contains(words)).map_or(Self::Other, |(_, trouble)| *trouble)
    }

    /// `; ` and what to do about it, or nothing.
    pub(crate) fn cure(self) -> &'static str {
        match self {
            Self::Credentials => {
                "; check `credentials` in [source] and the secret that it names (USER:PASSWORD, a token, or a private key), and what it may read"
            }
            Self::HostKey => {
                "; if the server's key was changed on purpose, put its new line into the secret, below the private key"
            }
            Self::Unreachable => "; check the address, and that this host reaches it",
            Self::Missing => "; check the address, and that `credentials` may see it",
            Self::Protocol => "; use https, ssh, git or file",
            Self::Unsound => "; the repository holds what a healthy one does not: `git fsck` names it",
            Self::Disk => "; make room on this host, or allow it more",
            Self::Other => "",
        }
    }
}

/// A folder or file of the host that fails.
pub(crate) fn folder(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> SourceError {
    let path = path.into();
    move |source| SourceError::Folder { operation, path, source }
}
