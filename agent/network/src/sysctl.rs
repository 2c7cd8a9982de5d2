//! Kernel parameters of links, and those that let a host forward. All in `/proc/sys/net`, which shows the calling thread's namespace.
//!
//! What is set on the whole host: forwarding, and, so that it keeps the routes it learns from its routers, `accept_ra = 2` where it was 1
//! (Linux, Documentation/networking/ip-sysctl: with forwarding on, 1 means "no longer").

use crate::Settings;
use std::io;
use std::path::Path;

const IPV4: &str = "/proc/sys/net/ipv4";
const IPV6: &str = "/proc/sys/net/ipv6";

/// Whether the kernel has IPv6 at all.
pub(crate) fn has_ipv6() -> bool {
    Path::new(IPV6).exists()
}

/// A bridge that answers doors on 127.0.0.1, believes no sender that is elsewhere, and no router.
pub(crate) fn prepare_bridge(settings: &Settings) -> io::Result<()> {
    let conf = format!("{IPV4}/conf/{}", settings.bridge);
    set(&format!("{conf}/route_localnet"), "1")?;
    set(&format!("{conf}/rp_filter"), "1")?;
    set_ipv6(&settings.bridge, settings.pool6.is_some())
}

/// A container's link: no router is believed, which any neighbour could claim to be.
pub(crate) fn set_ipv6(link: &str, is_used: bool) -> io::Result<()> {
    let conf = format!("{IPV6}/conf/{link}");
    if !Path::new(&conf).exists() {
        return Ok(());
    }
    set(&format!("{conf}/accept_ra"), "0")?;
    set(&format!("{conf}/disable_ipv6"), if is_used { "0" } else { "1" }).map(drop)
}

/// Lets the host forward packets between links.
pub(crate) fn forward(settings: &Settings) -> io::Result<()> {
    if set(&format!("{IPV4}/ip_forward"), "1")? {
        tracing::info!("net.ipv4.ip_forward is now 1: packets of containers are forwarded");
    }
    let all = format!("{IPV6}/conf/all/forwarding");
    if settings.pool6.is_some() && has_ipv6() && read(&all)? != "1" {
        keep_learning_routes()?;
        set(&all, "1")?;
        tracing::info!("net.ipv6.conf.all.forwarding is now 1: packets of containers are forwarded");
    }
    Ok(())
}

/// Links whose router advertisements count go on doing so.
fn keep_learning_routes() -> io::Result<()> {
    for entry in std::fs::read_dir(format!("{IPV6}/conf"))? {
        let path = entry?.path().join("accept_ra");
        let Some(path) = path.to_str() else { continue };
        // A link may go while we look.
        if read(path).is_ok_and(|value| value == "1") && !path.ends_with("/lo/accept_ra") {
            set(path, "2")?;
        }
    }
    Ok(())
}

/// Sets a parameter, and says whether it was different.
fn set(path: &str, value: &str) -> io::Result<bool> {
    if read(path)? == value {
        return Ok(false);
    }
    std::fs::write(path, value).map(|()| true)
}

fn read(path: &str) -> io::Result<String> {
    std::fs::read_to_string(path).map(|text| text.trim_end().to_owned())
}
