//! Why containers cannot be connected. Each names the object, and the cure where the operator has one.

use std::io;
use std::path::PathBuf;

/// See the module's description.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The settings cannot work.
    #[error("network.{key} {problem}")]
    Setting {
        /// Which key of `[network]`.
        key: &'static str,
        /// What is wrong with it, with its cure.
        problem: String,
    },
    /// The host has a route to addresses that would be the containers'.
    #[error("network.{key} = \"{pool}\" overlaps the host's route to {route} on {link}; choose another {key} in agent.toml")]
    Overlap {
        /// Which key.
        key: &'static str,
        /// The pool.
        pool: String,
        /// The route's destination.
        route: String,
        /// The link that it leads to.
        link: String,
    },
    /// The bridge's name belongs to something else.
    #[error("{name} is there and is no bridge; choose another network.bridge in agent.toml")]
    NoBridge {
        /// The name.
        name: String,
    },
    /// Every address is taken.
    #[error("no address is free in network.pool {pool}: {used} are in use; choose a larger pool in agent.toml")]
    Full {
        /// The pool.
        pool: String,
        /// How many are in use.
        used: usize,
    },
    /// A Linux bridge has no more than 1023 ports.
    #[error("bridge {bridge} has no room for another container: the kernel gives a bridge 1023 ports")]
    BridgeFull {
        /// Its name.
        bridge: String,
    },
    /// The book of addresses cannot be read or written.
    #[error("cannot {what} the book of addresses {}", path.display())]
    Book {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The book of addresses makes no sense.
    #[error(
        "the book of addresses {} is damaged; remove it once no container with network = \"bridge\" runs here, and restart coord-agent",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// The kernel refused.
    #[error("cannot {what}")]
    Kernel {
        /// What was tried, on what.
        what: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is no program to write the packet filter's rules with.
    #[error("cannot run nft, which publishes ports and lets containers out; install the package nftables")]
    NoNft {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The packet filter's rules were not taken.
    #[error("nft does not take the rules of table coord: {problem}")]
    Nft {
        /// What it said.
        problem: String,
    },
    /// The agent is ending.
    #[error("the agent is ending")]
    Ending,
}

/// Turns an error of the kernel into one of ours.
pub(crate) fn kernel(what: impl Into<String>) -> impl FnOnce(io::Error) -> NetworkError {
    let what = what.into();
    move |source| NetworkError::Kernel { what, source }
}
