//! Who gets a range of users, and which.

use std::path::PathBuf;

use super::{USERS_PER_CONTAINER, UserPool};
use crate::request::{UserRange, Users};
use crate::{ContainerSpec, Isolation, LogPolicy, NetworkMode, UserNamespaces};

fn spec(id: &str) -> ContainerSpec {
    ContainerSpec::new(id, vec![PathBuf::from("/layer")], vec!["true".to_owned()], LogPolicy::default())
}

fn pool(user_namespaces: UserNamespaces, ranges: u32) -> UserPool {
    UserPool::new(Isolation { user_namespaces, first_user: 100_000, user_count: ranges * USERS_PER_CONTAINER + 1 })
}

fn first(users: &Result<Users, String>) -> Option<u32> {
    match users {
        Ok(Users::Own { range, .. }) => Some(range.first),
        _ => None,
    }
}

#[test]
fn ranges_are_given_from_the_lowest_on_and_come_back() {
    let pool = pool(UserNamespaces::Auto, 3);
    pool.keep("old", UserRange { first: 100_000 + USERS_PER_CONTAINER, count: USERS_PER_CONTAINER });
    assert_eq!(first(&pool.assign(&spec("a"))), Some(100_000));
    assert_eq!(first(&pool.assign(&spec("b"))), Some(100_000 + 2 * USERS_PER_CONTAINER));
    assert_eq!(pool.assign(&spec("c")), Ok(Users::HostBecause("all 3 ranges of users are in use".to_owned())));
    pool.release("old");
    assert_eq!(first(&pool.assign(&spec("c"))), Some(100_000 + USERS_PER_CONTAINER));
}

#[test]
fn some_containers_have_the_hosts_users() {
    let check = |policy, change: &dyn Fn(&mut ContainerSpec), expect: Result<&str, &str>| {
        let mut spec = spec("c");
        change(&mut spec);
        let got = match pool(policy, 1).assign(&spec) {
            Ok(Users::Host) => Ok("asked for".to_owned()),
            Ok(Users::HostBecause(reason)) => Ok(reason),
            Ok(Users::Parents { .. }) => Ok("its parent's".to_owned()),
            Ok(Users::Own { required, .. }) => Ok(format!("own, required: {required}")),
            Err(error) => Err(error),
        };
        assert_eq!(got.as_ref().map(String::as_str).map_err(String::as_str), expect);
    };
    use UserNamespaces::{Auto, Off, Require};
    let host_network = |spec: &mut ContainerSpec| spec.network = NetworkMode::Host;
    check(Auto, &|_| (), Ok("own, required: false"));
    check(Require, &|_| (), Ok("own, required: true"));
    check(Off, &|_| (), Ok("switched off in agent.toml"));
    check(Require, &|spec| spec.security.host_users = true, Ok("asked for"));
    check(Auto, &|spec| spec.security.privileged = true, Ok("asked for"));
    check(Auto, &host_network, Ok("it shares the host's network"));
    check(Require, &host_network, Ok("own, required: true"));
    check(Auto, &|spec| spec.security.host_pid = true, Ok("it shares the host's processes"));
    let shares = "it shares the host's IPC, which takes host_users = true on this host";
    check(Require, &|spec| spec.security.host_ipc = true, Err(shares));
}
