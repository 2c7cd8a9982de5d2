//! How git and svn reach a server by ssh: as who has the private key, and only the server whose key is known.
//!
//! Which server keys are known: the lines of `known_hosts` below the private key in the secret, if there are any, and then no others; else
//! the host's own `/etc/ssh/ssh_known_hosts`, and the key that a server showed the first time, which is remembered from then on.

use crate::credentials::{Credentials, in_memory};
use crate::error::{SourceError, folder};
use crate::run::{Order, Place, Work};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// How long a connection may take, in seconds.
const CONNECT_PATIENCE_S: u32 = 20;

/// The command of ssh for a shell that the program starts; what it needs is added to what the program inherits.
pub(crate) fn command(work: &Work<'_>, credentials: Option<&Credentials>, order: &mut Order) -> Result<String, SourceError> {
    let mut known_hosts = format!("{}/ssh/known_hosts", work.seen(Place::Home));
    let (mut check, mut identity) = ("accept-new", String::new());
    let mut keep = |content: &str| -> Result<String, SourceError> {
        let memory = in_memory(content, work.tools.user).map_err(folder("make memory for", "credentials"))?;
        // ssh closes what it inherits: it reads what its parent, the program, has open.
        let path = in_parent(&memory);
        order.inherited.push(memory);
        Ok(path)
    };
    if let Some(credentials) = credentials {
        let key = credentials.key(&work.url)?;
        identity = format!(" -i {}", keep(&key.key)?);
        if !key.known_hosts.is_empty() {
            known_hosts = keep(&format!("{}\n", key.known_hosts))?;
            // No other file counts then.
            check = "yes -o GlobalKnownHostsFile=/dev/null";
        }
    }
    Ok(format!(
        "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o ConnectTimeout={CONNECT_PATIENCE_S} -o ServerAliveInterval=30 \
         -o LogLevel=ERROR -o StrictHostKeyChecking={check} -o UserKnownHostsFile={known_hosts}{identity}"
    ))
}

fn in_parent(memory: &OwnedFd) -> String {
    format!("/proc/$PPID/fd/{}", memory.as_raw_fd())
}
