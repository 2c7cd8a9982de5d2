//! The unit files, as systemd's own tools judge them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};
use coord_tests::process::describe;
use tempfile::TempDir;

/// systemd's measure of what a service could do to its machine, times ten: 0 nothing, 100 everything.
const COORDINATOR_EXPOSURE_MAX: &str = "20";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd").join(name)
}

fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("run {command:?} (package systemd)"))?;
    assert!(output.status.success(), "{command:?}: {}", describe(&output));
    Ok(output)
}

/// The units in a folder of their own, with programs that exist: `verify` looks for what ExecStart names.
fn installed_units() -> Result<TempDir> {
    let dir = tempfile::tempdir()?;
    for unit in ["coordinator.service", "coord-agent.service", "coord.slice"] {
        let text = fs::read_to_string(shipped(unit)).with_context(|| format!("read {unit}"))?;
        let program = format!("{}/", dir.path().display());
        fs::write(dir.path().join(unit), text.replace("ExecStart=/usr/bin/", &format!("ExecStart={program}")))?;
    }
    for program in ["coordinator", "coord-agent"] {
        let path = dir.path().join(program);
        fs::write(&path, "#!/bin/sh\n")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(dir)
}

#[test]
fn systemd_accepts_every_line_of_the_units() -> Result<()> {
    let dir = installed_units()?;
    for unit in ["coordinator.service", "coord-agent.service", "coord.slice"] {
        let path = dir.path().join(unit);
        let output = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path))?;
        let said = String::from_utf8_lossy(&output.stderr);
        // An unknown key or a wrong value is only a warning to systemd. What it says of other units is not ours.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("coord")).collect();
        assert!(ours.is_empty(), "{unit}: {ours:#?}");
    }
    Ok(())
}

#[test]
fn the_coordinator_can_do_little_to_its_machine() -> Result<()> {
    let dir = installed_units()?;
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--no-pager", "--offline=true", "--threshold", COORDINATOR_EXPOSURE_MAX]);
    run(command.arg(dir.path().join("coordinator.service")))?;
    Ok(())
}

#[test]
fn a_new_machine_gets_the_user_and_the_folders() -> Result<()> {
    let root = tempfile::tempdir()?;
    let at = format!("--root={}", root.path().display());
    let etc = root.path().join("etc/coord");
    fs::create_dir_all(&etc)?;
    fs::write(etc.join("agent.toml"), "token = \"secret\"\n")?;

    run(Command::new("systemd-sysusers").arg(&at).arg(shipped("sysusers.conf")))?;
    let users = fs::read_to_string(root.path().join("etc/passwd"))?;
    assert!(users.lines().any(|line| line.starts_with("coord:")), "{users}");

    run(Command::new("systemd-tmpfiles").args(["--create", &at]).arg(shipped("tmpfiles.conf")))?;
    assert!(etc.join("desired").is_dir());
    let mode = fs::metadata(etc.join("agent.toml"))?.mode() & 0o777;
    assert_eq!(mode, 0o600, "agent.toml holds a token: mode {mode:o}");
    Ok(())
}
