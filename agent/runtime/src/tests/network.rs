//! The hand-over of a network namespace to whoever connects it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::lab::Lab;
use crate::{Connect, NetworkMode, Runtime};

/// Runs `ip` in a network namespace, in a thread that ends in it.
fn ip(namespace: OwnedFd, arguments: &'static [&'static str]) -> Result<(), String> {
    let work = move || -> Result<(), String> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|error| error.to_string())?;
        let status = Command::new("ip").args(arguments).status().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("ip: {status}")) }
    };
    std::thread::spawn(work).join().unwrap_or_else(|_| Err("it panicked".to_owned()))
}

#[tokio::test]
async fn root_a_network_is_connected_before_the_command_runs() {
    let mut lab = Lab::new();
    let connect = Connect(Arc::new(|namespace| {
        Box::pin(async move {
            // Longer than all else takes.
            tokio::time::sleep(Duration::from_millis(200)).await;
            ip(namespace, &["address", "add", "127.0.0.77/8", "dev", "lo"])
        })
    }));
    let script = "ip addr show lo | grep -c 127.0.0.77; ip addr show lo | grep -c UP; cat /etc/hosts /etc/resolv.conf
        cat /proc/sys/net/core/somaxconn; cat /proc/sys/kernel/shmmni; ls /sys/class/net";
    let mut spec = lab.spec("connected", script);
    spec.network = NetworkMode::Connected(connect);
    spec.hosts_file = Some("10.1.2.3\tbox\n".to_owned());
    spec.resolv_conf = Some("nameserver 10.1.2.1\n".to_owned());
    spec.sysctls = [("net.core.somaxconn", "77"), ("kernel.shmmni", "78")].map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
    assert_eq!(lab.output(spec).await.0, "1\n1\n10.1.2.3\tbox\nnameserver 10.1.2.1\n77\n78\nlo\n");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_a_network_that_cannot_be_connected_fails_the_start() {
    let lab = Lab::new();
    let ran = lab.path("ran");
    let mut spec = lab.spec("unconnected", "touch /ran/it");
    let source = crate::MountSource::Bind { path: ran.clone(), propagation: crate::Propagation::Private };
    fs::create_dir(&ran).expect("a folder");
    spec.mounts = vec![crate::Mount { target: "/ran".to_owned(), source, read_only: false }];
    spec.network = NetworkMode::Connected(Connect(Arc::new(|_| Box::pin(async { Err("no address is free".to_owned()) }))));
    let error = lab.runtime.start(spec).await.expect_err("it is not connected");
    assert!(error.to_string().ends_with("cannot connect its network: no address is free"), "{error}");
    assert_eq!(fs::read_dir(&ran).expect("a folder").count(), 0, "the command must not have run");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
