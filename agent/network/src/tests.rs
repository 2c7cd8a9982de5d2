//! Real links, rules and packets, each test in network namespaces of its own; nothing of the machine's own namespace is touched.
//!
//! A namespace lives as long as a thread or a descriptor of it, so there is nothing to clean up, however a test ends. Sockets stay in the
//! namespace in which they were made: servers and clients are threads, not programs.

mod links;
mod packets;
mod rules;

use super::*;
use nix::sched::{CloneFlags, unshare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;
use std::time::Duration;

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a packet that must not arrive is waited for.
const SILENCE: Duration = Duration::from_millis(300);

/// A network namespace.
struct Namespace(OwnedFd);

impl Namespace {
    /// A new one with `lo` up.
    fn new() -> Namespace {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may unshare");
            run("ip link set lo up");
            std::fs::File::open("/proc/thread-self/ns/net").expect("its namespace").into()
        });
        Namespace(made.join().expect("a namespace"))
    }

    /// Does `work` in it.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).expect("entered");
                work()
            });
            inside.join().expect("what was to be done inside")
        })
    }
}

/// Runs a line of words as a program, which must succeed.
fn run(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().expect("a program")).args(words).output().expect("the program is installed");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A host: the test's own thread moves into a new namespace, with a link `out` to a neighbour who is everybody else.
struct Host {
    network: Network,
    outside: Namespace,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

/// The host's address as its neighbour sees it, and the neighbour's.
const HOST: &str = "192.0.2.1";
const OUTSIDE: &str = "192.0.2.2";
const HOST6: &str = "2001:db8::1";

impl Host {
    fn new() -> Host {
        Host::with(Settings::default())
    }

    fn with(settings: Settings) -> Host {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may unshare");
        run("ip link set lo up");
        // A new namespace has what the machine has.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").expect("a kernel parameter");
        let outside = Namespace::new();
        let pid_of_outside = outside.0.try_clone().expect("a descriptor");
        run("ip link add out type veth peer name far");
        // `ip` wants a path for a namespace; a descriptor of ours has one.
        let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&pid_of_outside));
        run(&format!("ip link set far netns {path}"));
        for line in ["ip addr add 192.0.2.1/24 dev out", "ip -6 addr add 2001:db8::1/64 dev out nodad", "ip link set out up"] {
            run(line);
        }
        outside.inside(|| {
            for line in ["ip addr add 192.0.2.2/24 dev far", "ip -6 addr add 2001:db8::2/64 dev far nodad", "ip link set far up"]
            {
                run(line);
            }
        });
        for line in ["ip route add default via 192.0.2.2", "ip -6 route add default via 2001:db8::2"] {
            run(line);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let network = Network::open(settings, folder.path()).expect("a network");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Host { network, outside, folder, runtime }
    }

    /// As a restarted agent sees it.
    fn reopen(&mut self) {
        self.network = Network::open(Settings::default(), self.folder.path()).expect("the network again");
    }

    fn container(&self, name: &str) -> (Namespace, Lease) {
        let namespace = Namespace::new();
        let lease = self.network.lease(name).expect("a lease");
        self.attach(&lease, &namespace).expect("attached");
        (namespace, lease)
    }

    fn attach(&self, lease: &Lease, namespace: &Namespace) -> Result<(), NetworkError> {
        self.runtime.block_on(self.network.attach(lease, namespace.0.as_fd()))
    }

    fn apply(&self, wanted: &Wanted) {
        self.runtime.block_on(self.network.apply(wanted)).expect("applied");
    }

    fn release(&self, container: &str) {
        self.runtime.block_on(self.network.release(container)).expect("released");
    }
}

/// `tcp 80 web 8080`: a door, and where it leads; `tcp 127.0.0.1 80 web 8080` for one of one address.
fn wanted(containers: &[&str], doors: &[&str]) -> Wanted {
    let door = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        let (protocol, ip, [port, container, to]) = match words.as_slice() {
            [protocol, ip, rest @ ..] if rest.len() == 3 => {
                (protocol, Some(ip.parse().expect("an address")), [rest[0], rest[1], rest[2]])
            }
            [protocol, rest @ ..] if rest.len() == 3 => (protocol, None, [rest[0], rest[1], rest[2]]),
            _ => panic!("{line}"),
        };
        let protocol = if *protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
        let port = port.parse().expect("a port");
        (HostPort { ip, port, protocol }, (container.to_owned(), to.parse().expect("a port")))
    };
    Wanted { containers: containers.iter().map(|c| (*c).to_owned()).collect(), published: doors.iter().map(door).collect() }
}

/// Answers every TCP connection with the address that it came from and `name`, until the test ends.
fn serve(place: &Namespace, address: &str, name: &'static str) {
    let listener = place.inside(|| TcpListener::bind(address).expect("a server's socket"));
    std::thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            let _ = std::io::Write::write_all(&mut stream, format!("{name} {}", from.ip()).as_bytes());
        }
    });
}

/// Answers every UDP packet in the same way.
fn serve_udp(place: &Namespace, address: &str, name: &'static str) {
    let socket = place.inside(|| UdpSocket::bind(address).expect("a server's socket"));
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{name} {}", from.ip()).as_bytes(), from);
        }
    });
}

/// What a server says; an error's kind where none answers.
fn ask(address: &str) -> String {
    ask_within(PATIENCE, address)
}

/// What whoever expects no answer hears.
fn knock(address: &str) -> String {
    ask_within(SILENCE, address)
}

fn ask_within(patience: Duration, address: &str) -> String {
    let address: SocketAddr = address.parse().expect("an address");
    let answer = TcpStream::connect_timeout(&address, patience).and_then(|mut stream| {
        let mut text = String::new();
        stream.set_read_timeout(Some(PATIENCE))?;
        std::io::Read::read_to_string(&mut stream, &mut text).map(|_| text)
    });
    answer.unwrap_or_else(|error| error.kind().to_string())
}

/// The same from the calling thread's namespace by a UDP socket.
fn ask_udp(socket: &UdpSocket, address: &str) -> String {
    socket.set_read_timeout(Some(SILENCE)).expect("a time limit");
    let mut buffer = [0; 100];
    for _ in 0..10 {
        // The first packet to a new neighbour may be lost.
        let answer = socket.send_to(b"?", address).and_then(|_| socket.recv_from(&mut buffer));
        if let Ok((length, _)) = answer {
            return String::from_utf8_lossy(&buffer[..length]).into_owned();
        }
    }
    "silence".to_owned()
}
