//! On hosts run by systemd: a transient scope per container, asked for over D-Bus.
//!
//! The containers must not live in the agent's own unit: its restart would then kill them, or fail. A scope outlives the
//! agent, `systemctl status` shows it, and `systemctl stop` ends it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zbus::zvariant::Value;

use super::error::RuntimeError;

/// How long systemd may take. It takes a few milliseconds; more when it is busy with a boot.
const SCOPE_TIMEOUT: Duration = Duration::from_secs(10);
const SCOPE_PAUSE: Duration = Duration::from_millis(1);

/// How long a container may take to end when systemd stops its scope, at a shutdown for example: as long as a document grants
/// by default, and not systemd's own minute and a half, for which a reboot would wait.
const STOP_TIMEOUT_US: u64 = 10_000_000;

/// All containers of a host, so that they can be limited and listed together.
const SLICE: &str = "coord.slice";
const AGENT: &str = "coord-agent.service";

/// Whether systemd is this host's first process.
pub(super) fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Puts process `pid` into a new scope for container `id`. Returns the scope's name and its path in the cgroup tree.
pub(super) async fn make_scope(id: &str, pid: u32) -> Result<(String, PathBuf), RuntimeError> {
    // The number, because systemd forgets a scope's name only some time after its end.
    let name = format!("coord-{}-{pid}.scope", unit_escape(id));
    let failed = |what: String| RuntimeError::Systemd { id: id.to_owned(), what };
    let description = format!("coord container {id}");
    let properties: Vec<(&str, Value<'_>)> = vec![
        ("Description", description.into()),
        ("Slice", SLICE.into()),
        ("PIDs", vec![pid].into()),
        ("Delegate", true.into()),
        // Else a scope that ended badly would keep its name.
        ("CollectMode", "inactive-or-failed".into()),
        ("TimeoutStopUSec", STOP_TIMEOUT_US.into()),
        // At a shutdown the agent goes first: it would start again what systemd stops.
        ("Before", vec![AGENT].into()),
    ];
    let auxiliary: Vec<(&str, Vec<(&str, Value<'_>)>)> = Vec::new();
    let connection = zbus::Connection::system().await.map_err(|error| failed(error.to_string()))?;
    let unit = (name.as_str(), "fail", properties, auxiliary);
    manager(&connection, "StartTransientUnit", &unit).await.map_err(|error| failed(error.to_string()))?;
    let placed = async {
        loop {
            if let Some(path) = scope_of(pid, &name) {
                return path;
            }
            tokio::time::sleep(SCOPE_PAUSE).await;
        }
    };
    match tokio::time::timeout(SCOPE_TIMEOUT, placed).await {
        Ok(path) => Ok((name, path)),
        Err(_) => Err(failed(format!("the scope {name} did not come up within {} s", SCOPE_TIMEOUT.as_secs()))),
    }
}

/// Stops scopes of containers in which nothing runs. systemd does that by itself, but for a scope whose only process was
/// gone before systemd began to look: an agent that was killed in the midst of a start leaves such ones.
pub(super) async fn stop_empty_scopes(cgroup_mount: PathBuf) {
    let folder = cgroup_mount.join(SLICE);
    let scopes = fs::read_dir(&folder).into_iter().flatten().flatten().filter(|entry| is_empty(&entry.path()));
    let names = scopes.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names = names.filter(|name| name.starts_with("coord-") && name.ends_with(".scope")).collect::<Vec<_>>();
    if names.is_empty() {
        return;
    }
    let Ok(connection) = zbus::Connection::system().await else { return };
    for name in names {
        let stopped = manager(&connection, "StopUnit", &(name.as_str(), "replace")).await;
        tracing::debug!(scope = name, error = ?stopped.err(), "stopping an empty scope");
    }
}

fn is_empty(group: &Path) -> bool {
    fs::read_to_string(group.join("cgroup.events")).is_ok_and(|events| events.lines().any(|line| line == "populated 0"))
}

/// Calls a method of systemd's manager.
async fn manager<Body>(connection: &zbus::Connection, method: &str, body: &Body) -> zbus::Result<zbus::Message>
where
    Body: serde::Serialize + zbus::zvariant::DynamicType,
{
    let (name, path) = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1");
    connection.call_method(Some(name), path, Some("org.freedesktop.systemd1.Manager"), method, body).await
}

/// The group of `pid`, from the mount on, once it is that scope.
fn scope_of(pid: u32, name: &str) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    path.ends_with(name).then(|| PathBuf::from(path))
}

/// What may stand in a unit.s name stays; all else becomes `\xHH`, so that different IDs stay different.
fn unit_escape(id: &str) -> String {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':');
    id.bytes().map(|byte| if allowed(byte) { char::from(byte).to_string() } else { format!("\\x{byte:02x}") }).collect()
}
