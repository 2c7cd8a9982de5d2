//! Gives away every right that the container's own command does not have.

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::program::Program;
use crate::request::{Failure, FailureKind};
use crate::user::User;
use crate::{host_failure, sys};

/// The kernel numbers capabilities below this.
const CAPABILITIES_MAX: u32 = 64;

/// In a user namespace the host's root is nobody: it could neither own the program's files nor change user.
pub(super) fn become_root() -> Result<(), Failure> {
    let become_root = || -> Result<(), Errno> {
        match set_thread_groups(&[]) {
            // A user namespace may forbid it; then there is nothing to be dropped.
            Ok(()) | Err(Errno::PERM) => {}
            Err(error) => return Err(error),
        }
        let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
        match set_thread_res_gid(gid, gid, gid).and_then(|()| set_thread_res_uid(uid, uid, uid)) {
            // A user namespace without a root.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(error),
        }
    };
    become_root().map_err(|error| host_failure("becoming the container's root", error))
}

/// From here on this process is `user`, and can do what the container's command can.
pub(super) fn give_away(program: &Program, user: &User) -> Result<(), Failure> {
    let process = &program.process;
    if !process.no_new_privileges {
        // Without that promise a filter can only be loaded by who could do without it.
        load_filters(program)?;
    }
    let capabilities = |names: &[String]| capabilities(names);
    let bounding = capabilities(&process.capabilities.bounding)?;
    let sets = CapabilitySets {
        effective: capabilities(&process.capabilities.effective)?,
        permitted: capabilities(&process.capabilities.permitted)?,
        inheritable: capabilities(&process.capabilities.inheritable)?,
    };
    limit(bounding).map_err(|error| host_failure("limiting capabilities", error))?;
    change_user(user)?;
    set_capabilities(None, sets).map_err(|error| host_failure("setting capabilities", error))?;
    match clear_ambient_capability_set() {
        // Before Linux 4.3 there were none.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(host_failure("setting capabilities", error)),
    }
    if process.no_new_privileges {
        set_no_new_privs(true).map_err(|error| host_failure("renouncing new privileges", error))?;
    }
    Ok(())
}

/// Needs either no_new_privs or a right that is soon gone.
pub(super) fn load_filters(program: &Program) -> Result<(), Failure> {
    let load = |filter: &Vec<sys::Instruction>| sys::load_seccomp(filter);
    program.filters.iter().try_for_each(load).map_err(|error| host_failure("loading the seccomp filter", error))
}

fn limit(bounding: CapabilitySet) -> Result<(), Errno> {
    for number in 0..CAPABILITIES_MAX {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if bounding.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no more than that.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn change_user(user: &User) -> Result<(), Failure> {
    let groups = user.groups.iter().map(|&gid| Gid::from_raw(gid)).collect::<Vec<_>>();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let change = || -> Result<(), Errno> {
        // Or the next call but two would take them; what is not wanted goes right after.
        set_keep_capabilities(true)?;
        match set_thread_groups(&groups) {
            Err(Errno::PERM) if groups.is_empty() => {}
            other => other?,
        }
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        set_keep_capabilities(false)
    };
    change().map_err(|error| {
        let object = format!("{}:{}", user.uid, user.gid);
        match error {
            Errno::INVAL => Failure {
                kind: FailureKind::User,
                object,
                detail: "the container's user namespace has no such user or group".to_owned(),
            },
            error => Failure::new(FailureKind::User, object, &std::io::Error::from(error)),
        }
    })
}

fn capabilities(names: &[String]) -> Result<CapabilitySet, Failure> {
    let mut set = CapabilitySet::empty();
    for name in names {
        let known = name.strip_prefix("CAP_").and_then(CapabilitySet::from_name);
        set |= known.ok_or_else(|| host_failure(name, Errno::INVAL))?;
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::capabilities;

    #[test]
    fn capabilities_are_found_by_name() {
        let check = |names: &[&str], expect: Option<u64>| {
            let names = names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
            assert_eq!(capabilities(&names).ok().map(|set| set.bits()), expect, "{names:?}");
        };
        check(&[], Some(0));
        check(&["CAP_CHOWN", "CAP_SETPCAP", "CAP_CHECKPOINT_RESTORE"], Some(1 | 1 << 8 | 1 << 40));
        check(&["CAP_NONE"], None);
        check(&["CHOWN"], None);
    }
}
