//! How the parts of a document are written in one: what a person is shown of a port, a mount, a device.
//!
//! Each is the short form that parses back, but for what only the long form can say, which is in brackets.

use super::parts::{Device, HostAddress, Mount, MountSource, Port, PortMapping, Probe, Propagation, Protocol, Ulimit};
use std::fmt;
use std::net::IpAddr;

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl Protocol {
    /// `/udp` where it is not TCP.
    fn suffix(self) -> &'static str {
        match self {
            Self::Tcp => "",
            Self::Udp => "/udp",
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.port, self.protocol.suffix())
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            None => {}
        }
        write!(f, "{}:{}{}", self.host_port, self.container_port, self.protocol.suffix())
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::HostGateway => f.write_str("host-gateway"),
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        let mut options: Vec<String> = Vec::new();
        match &self.source {
            MountSource::Volume { name, no_copy } => {
                write!(f, "{name}:{target}")?;
                options.extend(no_copy.then(|| "nocopy".to_owned()));
            }
            MountSource::Anonymous => f.write_str(target)?,
            MountSource::Bind { path, propagation } => {
                write!(f, "{path}:{target}")?;
                options.extend(match propagation {
                    Propagation::Rprivate => None,
                    Propagation::Rslave => Some("rslave".to_owned()),
                    Propagation::Rshared => Some("rshared".to_owned()),
                });
            }
            MountSource::Tmpfs { size, mode } => {
                f.write_str(target)?;
                options.extend(size.map(|size| format!("size={size}")));
                options.extend(mode.map(|mode| format!("mode={mode:o}")));
            }
        }
        options.extend(self.read_only.then(|| "ro".to_owned()));
        if options.is_empty() { Ok(()) } else { write!(f, ":{}", options.join(",")) }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cdi(name) => f.write_str(name),
            Self::File { source, target, read, write } => {
                f.write_str(source)?;
                if source != target {
                    write!(f, ":{target}")?;
                }
                match (read, write) {
                    (true, true) => Ok(()),
                    (true, false) => f.write_str(":r"),
                    (false, _) => f.write_str(":w"),
                }
            }
        }
    }
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |bound: Option<u64>| bound.map_or_else(|| "-1".to_owned(), |bound| bound.to_string());
        if self.soft == self.hard {
            return f.write_str(&bound(self.soft));
        }
        write!(f, "{{ soft = {}, hard = {} }}", bound(self.soft), bound(self.hard))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec(words) => f.write_str(&words.join(" ")),
            Self::Http { host, port, path } => write!(f, "http://{}:{port}{path}", host.as_deref().unwrap_or_default()),
            Self::Tcp { port } => write!(f, ":{port}"),
        }
    }
}
