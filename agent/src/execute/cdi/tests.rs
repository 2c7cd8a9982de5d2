//! Files of devices on a disk, and what they come to.

use super::*;

/// Two folders with these files, named `etc/x.json` or `run/x.yaml`.
fn folders(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("a folder");
    let both = ["etc", "run"].map(|name| folder.path().join(name)).to_vec();
    for folder in &both {
        fs::create_dir(folder).expect("a folder");
    }
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    (folder, both)
}

fn resolve(files: &[(&str, &str)], names: &[&str]) -> Result<HostParts, String> {
    let (_folder, folders) = folders(files);
    let mut parts = HostParts::default();
    add(names.iter().copied(), &folders, &mut parts).map_err(|error| error.to_string())?;
    Ok(parts)
}

const GPU: &str = r#"{
    "cdiVersion": "0.6.0", "kind": "acme.com/gpu", "annotations": {"a": "b"},
    "devices": [
        {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/null", "permissions": "rw"}]}},
        {"name": "1", "containerEdits": {"deviceNodes": [{"path": "/dev/zero", "permissions": "r"}], "additionalGids": [44, 0]}}
    ],
    "containerEdits": {
        "env": ["GPU=all=1"],
        "mounts": [{"hostPath": "/usr/lib", "containerPath": "/opt/gpu", "options": ["ro", "nosuid", "rbind", "rslave"]}]
    }
}"#;

const YAML: &str = "\
cdiVersion: 0.5.0
kind: acme.com/net
devices:
- name: eth
  containerEdits:
    deviceNodes:
    - path: /dev/null
      major: 1
      fileMode: 438
    mounts:
    - hostPath: tmpfs
      containerPath: /run/net
      type: tmpfs
";

fn device(source: &str, target: &str, read: bool, write: bool) -> DeviceFile {
    DeviceFile { source: source.into(), target: target.into(), read, write }
}

#[test]
fn devices_bring_along_what_their_files_say() {
    let files = [("etc/acme.json", GPU), ("run/net.yaml", YAML), ("etc/README", "no file of devices")];
    let parts = resolve(&files, &["acme.com/gpu=0", "acme.com/gpu=1", "acme.com/net=eth"]).expect("devices");
    let devices = [
        device("/dev/null", "/dev/gpu0", true, true),
        device("/dev/zero", "/dev/zero", true, false),
        device("/dev/null", "/dev/null", true, true),
    ];
    assert_eq!(parts.devices, devices);
    // What is said for the whole file comes once.
    assert_eq!(parts.env, [("GPU".to_owned(), "all=1".to_owned())]);
    assert_eq!(parts.groups, ["44"]);
    let bind = MountSource::Bind { path: "/usr/lib".into(), propagation: Propagation::Slave };
    let tmpfs = MountSource::Tmpfs { size_bytes: None, mode: 0o1777 };
    let expect = [
        Mount { target: "/opt/gpu".to_owned(), source: bind, read_only: true },
        Mount { target: "/run/net".to_owned(), source: tmpfs, read_only: false },
    ];
    assert_eq!(parts.mounts, expect);
}

#[test]
fn the_later_folder_is_the_stronger_one() {
    let other = GPU.replace("/dev/null", "/dev/full");
    let parts = resolve(&[("etc/acme.json", GPU), ("run/acme.json", &other)], &["acme.com/gpu=0"]).expect("a device");
    assert_eq!(parts.devices, [device("/dev/full", "/dev/gpu0", true, true)]);
}

#[test]
fn what_cannot_be_given_is_told() {
    let check = |files: &[(&str, &str)], name: &str, expect: &str| {
        let error = resolve(files, &[name]).err().unwrap_or_else(|| panic!("{name} was found"));
        assert!(error.contains(expect), "{error} ... expected: {expect}");
    };
    check(&[], "acme.com/gpu=0", "device \"acme.com/gpu=0\" is in none of the files in ");
    check(&[("etc/a.json", GPU)], "acme.com/gpu=7", "\"acme.com/gpu=7\" is in none");
    check(&[("etc/a.json", GPU), ("etc/b.json", GPU)], "acme.com/gpu=0", "a.json and ");
    check(&[("etc/a.json", "{")], "acme.com/gpu=0", "a.json cannot be used: EOF while parsing");
    check(&[("etc/a.yaml", "x: *y")], "acme.com/gpu=0", "a.yaml cannot be used: ");
    check(&[("run/a.json", &GPU.replace("0.6.0", "0.2.0"))], "acme.com/gpu=0", "its cdiVersion \"0.2.0\" is not one from 0.3");
    check(&[("run/a.json", &GPU.replace("0.6.0", "2.0.0"))], "acme.com/gpu=0", "cdiVersion");
    let hooks = GPU.replace("\"env\"", "\"hooks\": [{\"hookName\": \"createContainer\", \"path\": \"/bin/x\"}], \"env\"");
    check(&[("etc/a.json", &hooks)], "acme.com/gpu=0", "it needs hooks");
    check(&[("etc/a.json", &GPU.replace("/opt/gpu", "/opt/../etc"))], "acme.com/gpu=0", "\"/opt/../etc\" is not an absolute one");
    check(&[("etc/a.json", &GPU.replace("\"GPU=all=1\"", "\"GPU\""))], "acme.com/gpu=0", "its variable \"GPU\"");
    let large = format!("{GPU}{}", " ".repeat(5 << 20));
    check(&[("etc/a.json", &large)], "acme.com/gpu=0", "larger than 4194304 bytes");
}

#[test]
fn every_version_of_the_specification_is_read() {
    for version in ["0.3.0", "0.4.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"] {
        let file = GPU.replace("0.6.0", version);
        assert!(resolve(&[("etc/a.json", &file)], &["acme.com/gpu=0"]).is_ok(), "{version}");
    }
}
