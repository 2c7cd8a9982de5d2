//! Puts together what a container consists of before it has a process: its users, its root with all mounts, who it runs
//! as, and the `config.json` that says so.
//!
//! With users of its own where the host can: a kernel or file system that cannot show files with other owners is found
//! here, and then the container gets the host's users and a word about it, unless it must not.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use libcontainer::oci_spec::runtime::{Capability, LinuxNamespaceBuilder, LinuxNamespaceType, MountBuilder, RootBuilder, Spec};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::container_root::ContainerRoot;
use crate::mounts::{self, Aside, OpenError, Source};
use crate::namespaces::Owner;
use crate::parent::ParentContainer;
use crate::request::{self, BindPropagation, Failure, FailureKind, MountFrom, Network, Request, UserRange};
use crate::root::{Workshop, close_to_host, leave_host_mounts, map_layers};
use crate::tree::Tree;
use crate::user::{self, User};
use crate::{host_failure, namespaces, sys};

/// The namespaces that were made beforehand, and what the host could not give.
pub(crate) struct Users {
    pub(crate) network: Option<File>,
    users: Option<(File, UserRange)>,
    /// Rather the host's users than none.
    required: bool,
    weakened: Vec<String>,
}

/// A container that can be run now.
pub(crate) struct Assembled {
    /// What it is to be in the end.
    pub(crate) spec: Spec,
    pub(crate) user: User,
    pub(crate) weakened: Vec<String>,
    range: Option<UserRange>,
    /// Whoever runs it keeps these open until then.
    _namespaces: [Option<File>; 2],
}

impl Users {
    /// Makes the namespaces that `request` asks for, as far as the host can, or shares them with `parent`.
    pub(crate) fn make(request: &Request, parent: Option<&ParentContainer>) -> Result<Users, Failure> {
        if let Some(parent) = parent {
            return Users::within(request, parent);
        }
        let own_network = request.network != Network::Host;
        let network_failure = |error: io::Error| host_failure("making a network namespace", error);
        let (range, required, mut weakened) = match &request.users {
            request::Users::Host => (None, false, Vec::new()),
            request::Users::HostBecause(reason) => (None, false, vec![no_users(reason)]),
            request::Users::Own { range, required } => (Some(*range), *required, Vec::new()),
            request::Users::Parents { .. } => return Err(users_failure("it has no parent")),
        };
        let made = match namespaces::make(range.map_or(Owner::Host, Owner::New), own_network) {
            Err(error) if range.is_some() => {
                let reason = format!("the kernel refuses to make one ({error})");
                if required {
                    return Err(users_failure(&reason));
                }
                weakened.push(no_users(&reason));
                namespaces::make(Owner::Host, own_network).map_err(network_failure)?
            }
            other => other.map_err(network_failure)?,
        };
        Ok(Users { network: made.network, users: made.users, required, weakened })
    }

    /// Those of its parent: exactly these, or it is not started.
    fn within(request: &Request, parent: &ParentContainer) -> Result<Users, Failure> {
        let users = match &request.users {
            request::Users::Parents { range } => Some((parent.namespace("user")?, *range)),
            request::Users::Host | request::Users::HostBecause(_) => None,
            request::Users::Own { .. } => return Err(users_failure("it has those of its parent")),
        };
        let network = match request.network {
            Network::Host => None,
            Network::Parents => Some(parent.namespace("net")?),
            Network::Own | Network::Connected => {
                let owner = users.as_ref().map_or(Owner::Host, |(file, _)| Owner::Of(file));
                let made = namespaces::make(owner, true).map_err(|error| host_failure("making a network namespace", error))?;
                made.network
            }
        };
        Ok(Users { network, users, required: true, weakened: Vec::new() })
    }

    /// Does without users of its own.
    fn give_up(&mut self, path: &std::path::Path, error: &io::Error) -> Result<(), Failure> {
        let reason = format!("the file system of {} cannot show other owners ({error})", path.display());
        if self.required {
            return Err(users_failure(&reason));
        }
        self.weakened.push(no_users(&reason));
        self.users = None;
        Ok(())
    }
}

fn no_users(reason: &str) -> String {
    format!("no user namespace: {reason}")
}

fn users_failure(reason: &str) -> Failure {
    Failure { kind: FailureKind::Users, object: String::new(), detail: reason.to_owned() }
}

/// Puts everything together, in a mount namespace that this process enters by it.
pub(crate) fn assemble(request: &Request, mut users: Users, parent: Option<&ParentContainer>) -> Result<Assembled, Failure> {
    leave_host_mounts()?;
    let (sources, layers) = open_all(request, &mut users, parent)?;
    let range = users.users.as_ref().map(|(_, range)| *range);
    close_to_host()?;
    let workshop = Workshop::open(request)?;
    workshop.mount_root(request, layers.zip(range))?;
    let root = ContainerRoot::open(workshop.root())?;
    mounts::fill(&request.mounts, &root, range)?;

    let acting = ContainersRoot::act(range).map_err(|error| host_failure("making files as the container's root", error))?;
    let user = find_user(request, &root, range)?;
    let mut asides = mounts::attach(sources, &root, &workshop, range)?;
    let mut spec = load_spec(request)?;
    if let Some(process) = spec.process() {
        root.make_working_directory(process.cwd())?;
    }
    drop(acting);
    asides.extend(mounts::make_devices(&request.devices, &workshop, range)?);
    if range.is_some() && request.network == Network::Host {
        replace_sysfs(&mut spec);
        asides.insert(0, mounts::host_sysfs(&workshop)?);
    }
    complete(&mut spec, &user, &users, workshop.root(), asides)?;
    if request.mounts.iter().any(|mount| matches!(&mount.source, MountFrom::Bind { propagation: BindPropagation::Shared, .. }))
        && let Some(linux) = spec.linux_mut()
    {
        linux.set_rootfs_propagation(Some("shared".to_owned()));
    }
    if range.is_none() {
        users.weakened.extend(keep_available(&mut spec)?);
    }
    let made = Assembled {
        spec,
        user,
        weakened: users.weakened,
        range,
        _namespaces: [users.users.map(|(file, _)| file), users.network],
    };
    made.save_spec_to_start(request)?;
    Ok(made)
}

/// Opens the sources of all mounts and, with users of its own, the layers, as the container is to see them.
fn open_all<'a>(
    request: &'a Request,
    users: &mut Users,
    parent: Option<&ParentContainer>,
) -> Result<(Vec<Source<'a>>, Option<Vec<Tree>>), Failure> {
    if let Some((file, _)) = &users.users {
        match (mounts::open(&request.mounts, Some(file), parent), map_layers(&request.lowers, file)) {
            (Ok(sources), Ok(layers)) => return Ok((sources, Some(layers))),
            (Err(OpenError::Failed(failure)), _) => return Err(failure),
            (Err(OpenError::CannotMap(path, error)), _) | (Ok(_), Err((path, error))) => users.give_up(&path, &error)?,
        }
    }
    match mounts::open(&request.mounts, None, parent) {
        Ok(sources) => Ok((sources, None)),
        Err(OpenError::Failed(failure)) => Err(failure),
        Err(OpenError::CannotMap(path, error)) => Err(Failure::new(FailureKind::Mount, path.to_string_lossy(), &error)),
    }
}

fn find_user(request: &Request, root: &ContainerRoot, range: Option<UserRange>) -> Result<User, Failure> {
    let (passwd, group) = (root.read_accounts("/etc/passwd")?, root.read_accounts("/etc/group")?);
    let user = user::lookup(&request.user, &request.groups, &passwd, &group)?;
    let ids = [user.uid, user.gid].into_iter().chain(user.groups.iter().copied());
    match range.and_then(|range| ids.into_iter().find(|id| range.host(*id).is_none())) {
        Some(id) => Err(Failure {
            kind: FailureKind::User,
            object: request.user.clone(),
            detail: format!(
                "{id} is none of the {} users that a container has: set host_users = true",
                range.map_or(0, |r| r.count)
            ),
        }),
        None => Ok(user),
    }
}

/// While this lives, files are made as the container's root, which is all that may make any in an idmapped mount, with the
/// host's rights.
struct ContainersRoot;

impl ContainersRoot {
    fn act(range: Option<UserRange>) -> io::Result<Option<ContainersRoot>> {
        let Some(range) = range else { return Ok(None) };
        sys::set_file_owner(range.first);
        keep_rights()?;
        Ok(Some(ContainersRoot))
    }
}

impl Drop for ContainersRoot {
    fn drop(&mut self) {
        sys::set_file_owner(0);
        // When that fails, what comes next does, and says so.
        let _ = keep_rights();
    }
}

/// A change of the owner takes the rights over files away; they may be taken back.
fn keep_rights() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.effective = sets.permitted;
    Ok(set_capabilities(None, sets)?)
}

/// Without users of its own it can have no more rights than the agent has. Returns what it was to have besides, in words.
fn keep_available(spec: &mut Spec) -> Result<Option<String>, Failure> {
    let own = capabilities(None).map_err(|error| host_failure("asking for capabilities", error))?.permitted;
    let available =
        |capability: &Capability| CapabilitySet::from_name(&capability.to_string()).is_some_and(|bit| own.contains(bit));
    let Some(process) = spec.process_mut() else { return Ok(None) };
    let Some(mut sets) = process.capabilities().clone() else { return Ok(None) };
    let wanted = sets.bounding().clone().unwrap_or_default();
    let mut lacking =
        wanted.iter().filter(|capability| !available(capability)).map(|name| format!("CAP_{name}")).collect::<Vec<_>>();
    if lacking.is_empty() {
        return Ok(None);
    }
    lacking.sort();
    let left = Some(wanted.into_iter().filter(available).collect::<std::collections::HashSet<_>>());
    sets.set_bounding(left.clone()).set_effective(left.clone()).set_permitted(left);
    process.set_capabilities(Some(sets));
    Ok(Some(format!("capabilities that the agent itself does not have: {}", lacking.join(", "))))
}

fn load_spec(request: &Request) -> Result<Spec, Failure> {
    let path = request.bundle.join("config.json");
    Spec::load(&path).map_err(|error| Failure::new(FailureKind::Host, path.to_string_lossy(), &error))
}

fn replace_sysfs(spec: &mut Spec) {
    if let Some(mounts) = spec.mounts_mut() {
        mounts.retain(|mount| mount.typ().as_deref() != Some("sysfs"));
    }
}

/// Fills in what only this process knows: the user's numbers and home, the namespaces, the root and what is mounted late.
fn complete(spec: &mut Spec, user: &User, users: &Users, root: PathBuf, asides: Vec<Aside>) -> Result<(), Failure> {
    if let Some(process) = spec.process_mut() {
        let mut account = process.user().clone();
        account.set_uid(user.uid).set_gid(user.gid).set_additional_gids(Some(user.groups.clone()));
        process.set_user(account);
        let environment = process.env_mut().get_or_insert_default();
        if !environment.iter().any(|variable| variable.starts_with("HOME=")) {
            environment.push(format!("HOME={}", user.home));
        }
    }
    let built = |error| Failure::new(FailureKind::Host, "config.json", &error);
    let read_only = spec.root().as_ref().and_then(libcontainer::oci_spec::runtime::Root::readonly).unwrap_or(false);
    spec.set_root(Some(RootBuilder::default().path(root).readonly(read_only).build().map_err(built)?));

    let path = |file: &File| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let namespaces = spec.linux_mut().get_or_insert_default().namespaces_mut().get_or_insert_default();
    for namespace in namespaces.iter_mut().filter(|namespace| namespace.typ() == LinuxNamespaceType::Network) {
        namespace.set_path(users.network.as_ref().map(path));
    }
    if let Some((file, _)) = &users.users {
        let namespace = LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::User).path(path(file)).build();
        namespaces.push(namespace.map_err(built)?);
    }
    for Aside { source, target, options } in asides {
        let mount = MountBuilder::default().destination(target).typ("bind").source(source).options(options);
        spec.mounts_mut().get_or_insert_default().push(mount.build().map_err(built)?);
    }
    // What is mounted into another must come after it.
    if let Some(mounts) = spec.mounts_mut() {
        mounts.sort_by_key(|mount| mount.destination().components().count());
    }
    Ok(())
}

impl Assembled {
    /// Whom a user of the container is on the host.
    pub(crate) fn on_host(&self, id: u32) -> u32 {
        self.range.and_then(|range| range.host(id)).unwrap_or(id)
    }

    /// The command's rights, where they are not all that is dropped before it.
    pub(crate) fn rights(&self, request: &Request) -> Option<CapabilitySet> {
        let process = self.spec.process().as_ref().filter(|_| request.filters_first)?;
        let names = process.capabilities().as_ref()?.effective().clone().unwrap_or_default();
        Some(names.iter().filter_map(|name| CapabilitySet::from_name(&name.to_string())).collect())
    }

    /// Loading filters takes CAP_SYS_ADMIN, unless programs gain no rights: it is then kept until they are loaded.
    fn save_spec_to_start(&self, request: &Request) -> Result<(), Failure> {
        let mut spec = self.spec.clone();
        if request.filters_first
            && let Some(process) = spec.process_mut()
            && let Some(mut capabilities) = process.capabilities().clone()
        {
            let mut rights = capabilities.permitted().clone().unwrap_or_default();
            rights.insert(Capability::SysAdmin);
            capabilities.set_effective(Some(rights.clone())).set_permitted(Some(rights));
            process.set_capabilities(Some(capabilities));
        }
        save(&spec, request)
    }

    /// Writes down what the container is in the end.
    pub(crate) fn save_final_spec(&self, request: &Request) -> Result<(), Failure> {
        if request.filters_first { save(&self.spec, request) } else { Ok(()) }
    }
}

fn save(spec: &Spec, request: &Request) -> Result<(), Failure> {
    let path = request.bundle.join("config.json");
    spec.save(&path).map_err(|error| Failure::new(FailureKind::Host, path.to_string_lossy(), &error))
}
