//! Connects the containers of one host: a bridge, an address for each, published ports.
//!
//! Knows no document and no container runtime: whoever calls it says which containers want an address, hands over their network
//! namespaces, and says which ports lead where. What should be there is one value, [`Wanted`]; [`Network::apply`] makes it so, however
//! it was before, and is called again whenever it changes and every now and then: a table that somebody flushed comes back.
//!
//! Deliberately absent: networks across hosts, names of other containers, load balancing.

mod attach;
mod book;
mod bridge;
mod connections;
mod conntrack;
mod error;
mod links;
mod listeners;
mod netlink;
mod nft;
mod pool;
mod sysctl;

pub use connections::connections;
pub use error::NetworkError;
pub use listeners::{Owner, owner};

use book::Book;
use error::kernel;
use links::Links;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a host's containers are connected; `[network]` of `agent.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The bridge's name, at most 15 bytes.
    pub bridge: String,
    /// Where IPv4 addresses come from; the first is the bridge's own.
    pub pool: (Ipv4Addr, u8),
    /// Where IPv6 addresses come from; no IPv6 where absent.
    pub pool6: Option<(Ipv6Addr, u8)>,
    /// Of every link; the default route's where absent.
    pub mtu: Option<u32>,
}

impl Default for Settings {
    /// Networks that hardly anybody else uses.
    fn default() -> Self {
        Self {
            bridge: "coord0".to_owned(),
            pool: (Ipv4Addr::new(10, 207, 0, 0), 16),
            // "coord" in the place where RFC 4193 wants chance: it never leaves the host.
            pool6: Some((Ipv6Addr::new(0xfd63, 0x6f6f, 0x7264, 0, 0, 0, 0, 0), 64)),
            mtu: None,
        }
    }
}

/// The addresses of one container, its own until [`Network::release`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Which container.
    pub container: String,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address, where the host's network has IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// The bridge's, which is the host as the container reaches it.
    pub gateway: Ipv4Addr,
    /// The bridge's IPv6 address.
    pub gateway6: Option<Ipv6Addr>,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A door of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    /// Every address of the host where absent.
    pub ip: Option<IpAddr>,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// What should be there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Containers whose links and addresses stay. All others of ours go.
    pub containers: Vec<String>,
    /// Which door leads to which container's port.
    pub published: BTreeMap<HostPort, (String, u16)>,
}

/// See the crate's description. Clones share everything.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    book: Mutex<Book>,
    /// What the kernel was told last. Held while it is told, so that nobody else does at the same time.
    told: Mutex<Told>,
    /// There are rules, so that starts need not wait for whoever changes them.
    has_rules: AtomicBool,
}

#[derive(Default)]
struct Told {
    /// `None`: nothing yet.
    doors: Option<nft::Doors>,
    /// The kernel's generation right after; `None` if somebody else may have changed something since before.
    generation: Option<u32>,
}

impl Network {
    /// Opens the book in `folder`, which does not survive a reboot. Changes nothing on the host yet.
    pub fn open(mut settings: Settings, folder: &Path) -> Result<Network, NetworkError> {
        settings.check()?;
        settings.pool6 = settings.pool6.filter(|_| sysctl::has_ipv6());
        let book = Mutex::new(Book::open(folder)?);
        Ok(Network { shared: Arc::new(Shared { settings, book, told: Mutex::default(), has_rules: AtomicBool::new(false) }) })
    }

    /// Reserves addresses for a container, and writes that down. Repeated for the same container, it gives the same ones.
    pub fn lease(&self, container: &str) -> Result<Lease, NetworkError> {
        self.shared.book().lease(&self.shared.settings, container)
    }

    /// The lease that a container has.
    pub fn leased(&self, container: &str) -> Option<Lease> {
        self.shared.book().get(container).cloned()
    }

    /// The containers that have a lease.
    pub fn leases(&self) -> Vec<String> {
        self.shared.book().leases().map(|lease| lease.container.clone()).collect()
    }

    /// Gives a new network namespace, in which nothing is up yet but `lo`, its link, addresses and routes. Makes the bridge when it is
    /// missing, and with it the rules that let containers out. The namespace may belong to another user namespace.
    pub async fn attach(&self, lease: &Lease, namespace: BorrowedFd<'_>) -> Result<(), NetworkError> {
        let of = || kernel(format!("hold the network namespace of {}", lease.container));
        let namespace = namespace.try_clone_to_owned().map_err(of())?;
        let (shared, lease) = (self.shared.clone(), lease.clone());
        own_thread(move || {
            shared.ensure_rules()?;
            attach::attach(&shared.settings, &lease, &namespace)
        })
        .await
    }

    /// Takes a container's link and addresses back. What is gone already is fine.
    pub async fn release(&self, container: &str) -> Result<(), NetworkError> {
        let Some(lease) = self.leased(container) else { return Ok(()) };
        let shared = self.shared.clone();
        own_thread(move || shared.release(&mut open_links()?, &lease)).await
    }

    /// Makes the host's links, tables and maps as wanted. May be repeated; costs little when all is as it should be. Leases made since
    /// the last call are left alone, wanted or not.
    pub async fn apply(&self, wanted: &Wanted) -> Result<(), NetworkError> {
        let (shared, wanted) = (self.shared.clone(), wanted.clone());
        own_thread(move || shared.apply(&wanted)).await
    }

    /// Whether the pools are free: not within a network that the host reaches otherwise.
    pub fn check_pools(settings: &Settings) -> Result<(), NetworkError> {
        bridge::refuse_overlap(&mut open_links()?, settings)
    }

    /// The doors at which programs of the host itself listen now.
    pub fn listeners() -> std::io::Result<BTreeSet<HostPort>> {
        listeners::listeners()
    }

    /// Takes away everything of ours: links, bridge, tables, leases. For uninstalling. Kernel parameters stay as they are.
    pub async fn remove_all(&self) -> Result<(), NetworkError> {
        let shared = self.shared.clone();
        own_thread(move || shared.remove_all()).await
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link first: an address must not be given to another while it is still on a link.
    fn release(&self, links: &mut Links, lease: &Lease) -> Result<(), NetworkError> {
        let link = lease.link();
        links.remove(&link).map_err(kernel(format!("remove the link {link} of {}", lease.container)))?;
        self.book().release(&lease.container)
    }

    /// Rules without doors where there are none at all: a container must get out before anybody says what is wanted.
    fn ensure_rules(&self) -> Result<(), NetworkError> {
        if self.has_rules.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut told = self.told();
        if !nft::is_there() {
            self.tell(&mut told, nft::Doors::new())?;
        }
        self.has_rules.store(true, Ordering::Release);
        Ok(())
    }

    fn apply(&self, wanted: &Wanted) -> Result<(), NetworkError> {
        let mut told = self.told();
        let unwanted = self.book().unwanted(&wanted.containers)?;
        let bridge = self.tidy_links(&unwanted)?;
        let doors = self.doors(wanted);
        // A host that never had a container with an address is left as it is.
        if bridge || !doors.is_empty() || told.doors.is_some() {
            self.tell(&mut told, doors)?;
        }
        Ok(())
    }

    /// Removes links that nobody wants, and puts those that are wanted in their place. Says whether there is a bridge.
    fn tidy_links(&self, unwanted: &[Lease]) -> Result<bool, NetworkError> {
        let mut links = open_links()?;
        for lease in unwanted {
            self.release(&mut links, lease)?;
        }
        let leases: BTreeSet<String> = self.book().leases().map(Lease::link).collect();
        let Some(mut bridge) = bridge::find(&mut links, &self.settings)? else {
            if leases.is_empty() {
                return Ok(false);
            }
            bridge::ensure(&mut links, &self.settings)?;
            return self.tidy_links(&[]);
        };
        if !bridge.is_up {
            bridge = bridge::ensure(&mut links, &self.settings)?;
        }
        bridge::look_after(&mut links, &self.settings, &bridge)?;
        for link in links.pairs().map_err(kernel("list the links"))? {
            let is_ours = link.name.starts_with(pool::LINK_PREFIX);
            if leases.contains(&link.name) && link.master != Some(bridge.index) {
                links.set_master(link.index, bridge.index).map_err(kernel(format!("put the link {} in its place", link.name)))?;
            } else if is_ours && link.master == Some(bridge.index) && !leases.contains(&link.name) {
                links.remove(&link.name).map_err(kernel(format!("remove the link {}", link.name)))?;
            }
        }
        Ok(true)
    }

    /// Which door leads to which address. One whose container has none leads nowhere.
    fn doors(&self, wanted: &Wanted) -> nft::Doors {
        let book = self.book();
        let target = |(door, (container, port)): (&HostPort, &(String, u16))| {
            let lease = book.get(container)?;
            Some((*door, nft::Target { ipv4: lease.ipv4, ipv6: lease.ipv6, port: *port }))
        };
        wanted.published.iter().filter_map(target).collect()
    }

    /// Makes the kernel's rules these. If they are, and nobody has changed any rules since, nothing is done.
    fn tell(&self, told: &mut Told, doors: nft::Doors) -> Result<(), NetworkError> {
        let before = nft::generation();
        if told.generation.is_some() && told.generation == before && told.doors.as_ref() == Some(&doors) {
            return Ok(());
        }
        told.generation = None;
        nft::run(&nft::rules(&self.settings, &doors))?;
        // Anything but the next number means that somebody else was there in between; then the next time is not spared.
        told.generation = nft::generation().filter(|after| before.map(|before| before.wrapping_add(1)) == Some(*after));
        if let Err(error) = conntrack::forget(&self.settings, told.doors.as_ref(), &doors) {
            tracing::debug!(%error, "what the kernel remembers of UDP clients stays until they pause");
        }
        told.doors = Some(doors);
        self.has_rules.store(true, Ordering::Release);
        Ok(())
    }

    fn remove_all(&self) -> Result<(), NetworkError> {
        let mut told = self.told();
        let mut links = open_links()?;
        let leases: Vec<Lease> = self.book().leases().cloned().collect();
        for lease in &leases {
            self.release(&mut links, lease)?;
        }
        if bridge::find(&mut links, &self.settings)?.is_some() {
            let name = &self.settings.bridge;
            links.remove(name).map_err(kernel(format!("remove the bridge {name}")))?;
        }
        if nft::is_there() {
            nft::run("add table ip coord\ndelete table ip coord\nadd table ip6 coord\ndelete table ip6 coord\n")?;
        }
        *told = Told::default();
        self.has_rules.store(false, Ordering::Release);
        Ok(())
    }
}

fn open_links() -> Result<Links, NetworkError> {
    Links::open().map_err(kernel("speak to the kernel about links"))
}

/// Runs `work` in a thread of its own, which ends with it: it may block, and leave the network namespace that it began in.
async fn own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send + 'static,
) -> Result<T, NetworkError> {
    let (done, answer) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("network".to_owned()).stack_size(THREAD_STACK_BYTES);
    thread.spawn(move || drop(done.send(work()))).map_err(kernel("start a thread for the network"))?;
    answer.await.map_err(|_| NetworkError::Ending)?
}

/// Some frames and a directory's entries; 32 KiB of answers are on the heap.
const THREAD_STACK_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests;
