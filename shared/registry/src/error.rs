//! Why something did not come from a registry, and what would help.

use std::time::Duration;

/// What went wrong between us and a registry. Each names the object asked for and, where a person can act, the cure.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Our own configuration cannot be used.
    #[error("registry configuration: {problem}")]
    Config {
        /// File or entry, what is wrong, and the cure.
        problem: String,
    },
    /// 401 or 403.
    #[error("{object}: access denied by the registry; {cure}")]
    Unauthorized {
        /// What was asked for.
        object: String,
        /// What to change.
        cure: &'static str,
    },
    /// 404.
    #[error("{object}: the registry has no such thing; check the name, or push it")]
    NotFound {
        /// What was asked for.
        object: String,
    },
    /// 429.
    #[error(
        "{object}: the registry limits the rate of requests{}; log in or use a mirror to raise the limit",
        wait_text(retry_after)
    )]
    RateLimited {
        /// What was asked for.
        object: String,
        /// How long it asks us to wait, where it says so.
        retry_after: Option<Duration>,
    },
    /// 5xx, or 408.
    #[error("{object}: the registry failed with status {status}; see its log")]
    Server {
        /// What was asked for.
        object: String,
        /// The HTTP status.
        status: u16,
        /// How long it asks us to wait, where it says so.
        retry_after: Option<Duration>,
    },
    /// No answer: name lookup, connection, TLS, timeout, or cut off in the middle.
    #[error("{object}: {problem}")]
    Unreachable {
        /// What was asked for.
        object: String,
        /// What failed, and the cure where one is known.
        problem: String,
        /// The transport's own words; none where time ran out.
        #[source]
        source: Option<Box<reqwest::Error>>,
    },
    /// An answer that is not what the protocol or the digest promises.
    #[error("{object}: bad answer: {problem}")]
    BadAnswer {
        /// What was asked for.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl RegistryError {
    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Server { .. } | Self::Unreachable { .. } => true,
            Self::Config { .. } | Self::Unauthorized { .. } | Self::NotFound { .. } | Self::BadAnswer { .. } => false,
        }
    }

    /// How long the registry asks us to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Server { retry_after, .. } => *retry_after,
            Self::Config { .. }
            | Self::Unauthorized { .. }
            | Self::NotFound { .. }
            | Self::Unreachable { .. }
            | Self::BadAnswer { .. } => None,
        }
    }
}

fn wait_text(retry_after: &Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| format!(" and asks for a pause of {} s", wait.as_secs()))
}
