//! Everything by which a container within another one would be more than that one.

use super::super::lab::Lab;
use super::{child_spec, parent_spec, start_parent, within};
use crate::{Backend, Connect, ContainerSpec, DeviceFile, Mount, MountSource, NetworkMode, Propagation, Runtime, RuntimeError};

type Change = Box<dyn Fn(&mut ContainerSpec)>;

fn wider() -> Vec<(&'static str, Change)> {
    let bind = |path: &'static str| -> Change {
        Box::new(move |spec| {
            let source = MountSource::Bind { path: path.into(), propagation: Propagation::Shared };
            spec.mounts = vec![Mount { target: "/host".to_owned(), source, read_only: true }];
        })
    };
    vec![
        ("be privileged", Box::new(|spec| spec.security.privileged = true)),
        ("be given capabilities", Box::new(|spec| spec.security.cap_add = vec!["CAP_SYS_ADMIN".to_owned()])),
        ("be given capabilities", Box::new(|spec| spec.security.cap_add = vec!["ALL".to_owned()])),
        ("system call filter", Box::new(|spec| spec.security.seccomp_unconfined = true)),
        ("unmasked", Box::new(|spec| spec.security.unmasked = true)),
        ("gain privileges", Box::new(|spec| spec.security.new_privileges = true)),
        ("host's users", Box::new(|spec| spec.security.host_users = true)),
        ("host's processes", Box::new(|spec| spec.security.host_pid = true)),
        ("host's IPC", Box::new(|spec| spec.security.host_ipc = true)),
        ("host's network", Box::new(|spec| spec.network = NetworkMode::Host)),
        (
            "connected to a network",
            Box::new(|spec| {
                let connect = Connect(std::sync::Arc::new(|_| Box::pin(async { Ok(()) })));
                spec.network = NetworkMode::Connected(connect);
            }),
        ),
        (
            "be given devices",
            Box::new(|spec| {
                let device = DeviceFile { source: "/dev/null".into(), target: "/dev/x".into(), read: true, write: true };
                spec.devices = vec![device];
            }),
        ),
        ("limits of processes", Box::new(|spec| spec.rlimits = vec![("RLIMIT_MEMLOCK".to_owned(), u64::MAX, u64::MAX)])),
        ("choose its processors", Box::new(|spec| spec.resources.cpuset = Some("0".to_owned()))),
        ("reserve memory", Box::new(|spec| spec.resources.memory_reservation_bytes = Some(1))),
        ("disk time", Box::new(|spec| spec.resources.io_weight = Some(1000))),
        ("have others within it", Box::new(|spec| spec.nests = true)),
        ("be run by an OCI runtime", Box::new(|spec| spec.backend = Backend::External("/usr/bin/crun".into()))),
        ("files or folders of the host", bind("/")),
        ("files or folders of the host", bind("/etc/shadow")),
        (
            "its parent's, whose network it shares",
            Box::new(|spec| spec.sysctls = vec![("net.ipv4.ip_forward".to_owned(), "1".to_owned())]),
        ),
    ]
}

#[tokio::test]
async fn root_nested_cannot_be_more_than_its_parent() {
    let lab = Lab::new();
    start_parent(&lab, parent_spec(&lab, "")).await;
    for (expect, change) in wider() {
        let mut spec = child_spec(&lab, "child", "true");
        change(&mut spec);
        let error = lab.runtime.start(spec).await.expect_err(expect);
        let said = error.to_string();
        assert!(matches!(error, RuntimeError::Specification { .. }) && said.contains(expect), "{expect}: {said}");
    }
    // And a container that was not started for it has none within it.
    let mut plain = lab.spec("plain", "sleep 1000");
    plain.backend = Backend::Embedded;
    lab.runtime.start(plain).await.expect("a start");
    let error = lab.runtime.parent("plain", &within()).expect_err("it is none");
    assert!(error.to_string().contains("not started as one within which others run"), "{error}");
    let mut orphan = lab.spec("orphan", "true");
    orphan.network = NetworkMode::Parent;
    let error = lab.runtime.start(orphan).await.expect_err("it has none");
    assert!(error.to_string().contains("within no other container"), "{error}");
    let mut external = parent_spec(&lab, "");
    (external.id, external.backend) = ("external".to_owned(), Backend::External("/usr/bin/crun".into()));
    let error = lab.runtime.start(external).await.expect_err("it cannot have others within it");
    assert!(error.to_string().contains("only within containers of the embedded one"), "{error}");
    for id in ["plain", "parent"] {
        lab.runtime.remove(id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
