//! Git and Subversion by ssh, with Debian's sshd: private keys, and the keys of servers.

use super::repository::{Repository, Subversion};
use super::{Bench, git, says};
use coord_shared::pipeline::{Reference, SourceKind};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A server that takes one key; it ends with the test's process.
struct Server {
    address: SocketAddr,
    dir: PathBuf,
}

impl Server {
    fn start(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        for name in ["host", "client", "stranger"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(dir.join(name));
            assert!(keygen.status().unwrap().success());
        }
        fs::copy(dir.join("client.pub"), dir.join("authorized")).unwrap();
        let shown = dir.display();
        let config = format!(
            "HostKey {shown}/host\nAuthorizedKeysFile {shown}/authorized\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n"
        );
        fs::write(dir.join("config"), config).unwrap();
        // Where it puts nothing, but wants to have it.
        fs::create_dir_all("/run/sshd").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), dir: dir.to_owned() };
        let config = dir.join("config");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (input, output) = (OwnedFd::from(stream.try_clone().unwrap()), OwnedFd::from(stream));
                let mut sshd = Command::new("/usr/sbin/sshd");
                sshd.arg("-i").arg("-f").arg(&config).stdin(Stdio::from(input)).stdout(Stdio::from(output)).stderr(Stdio::null());
                let mut child = sshd.spawn().expect("sshd is installed (apt install openssh-server)");
                std::thread::spawn(move || child.wait());
            }
        });
        server
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap()
    }

    /// The server's line of `known_hosts`.
    fn known_host(&self) -> String {
        format!("[127.0.0.1]:{} {}", self.address.port(), self.read("host.pub"))
    }

    fn at(&self) -> String {
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        format!("{}@{}", String::from_utf8_lossy(&user).trim(), self.address)
    }
}

#[tokio::test]
async fn a_private_key_opens_a_repository() {
    let bench = Bench::new();
    let repository = Repository::new(&bench.path("origin"));
    repository.commit("Begin", &[("a", "1")]);
    let server = Server::start(&bench.path("server"));
    let url = format!("ssh://{}{}", server.at(), repository.path.display());
    let source = |secret: &str| bench.source(git(&url, Reference::Branch(Some("main".to_owned()))), Some(secret));
    let key = server.read("client");
    bench.fetch_head(&source(&key)).await;
    assert_eq!(bench.read("a"), "1");
    // The first key that the server showed is remembered; another one is refused.
    let known = bench.path("home/ssh/known_hosts");
    assert!(fs::read_to_string(&known).unwrap().contains(&format!("[127.0.0.1]:{}", server.address.port())));
    let stranger = server.read("stranger.pub");
    fs::write(&known, format!("[127.0.0.1]:{} {stranger}", server.address.port())).unwrap();
    says(source(&key).look().await, &["Host key verification failed", "below the private key"]);
    // What the secret says counts alone.
    source(&format!("{key}\n{}", server.known_host())).look().await.unwrap();
    says(
        source(&format!("{key}\n[127.0.0.1]:{} {stranger}", server.address.port())).look().await,
        &["Host key verification failed"],
    );
    fs::remove_file(&known).unwrap();
    let text = says(source(&server.read("stranger")).look().await, &["Permission denied", "`credentials`"]);
    assert!(!text.contains("PRIVATE KEY"), "{text}");
    says(source("alice:sesame").look().await, &["is not a private key"]);
}

#[tokio::test]
async fn a_private_key_opens_a_subversion_repository() {
    let bench = Bench::new();
    let repository = Subversion::new(&bench.path("origin"));
    repository.commit("Begin", &[("a", "1")]);
    let server = Server::start(&bench.path("server"));
    let url = format!("svn+ssh://{}{}/trunk", server.at(), repository.path.display());
    let source = |secret: &str| bench.source(SourceKind::Svn { url: url.clone() }, Some(secret));
    bench.fetch_head(&source(&format!("{}\n{}", server.read("client"), server.known_host()))).await;
    assert_eq!(bench.read("a"), "1");
    says(source(&server.read("stranger")).look().await, &["`credentials`"]);
}
