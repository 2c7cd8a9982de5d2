//! The bridge: made on demand, given its addresses, and the kernel told to forward. Its ports are the containers' links.

use crate::error::kernel;
use crate::links::{Link, Links, Route};
use crate::pool::{MTU6_MIN, hardware_of, overlap};
use crate::{NetworkError, Settings, sysctl};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// An address on the other side of the default route, wherever that is (RFC 5737: documentation, so nobody's own).
const SOMEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
/// What a link has where nothing else is known.
const MTU_DEFAULT: u32 = 1500;

/// The bridge as it is.
pub(crate) fn find(links: &mut Links, settings: &Settings) -> Result<Option<Link>, NetworkError> {
    let name = &settings.bridge;
    match links.find(name).map_err(kernel(format!("look at the link {name}")))? {
        Some(link) if link.kind != "bridge" => Err(NetworkError::NoBridge { name: name.clone() }),
        found => Ok(found),
    }
}

/// The bridge as it should be, made if it is missing.
pub(crate) fn ensure(links: &mut Links, settings: &Settings) -> Result<Link, NetworkError> {
    let name = &settings.bridge;
    if let Some(link) = find(links, settings)?
        && link.is_up
    {
        return Ok(link);
    }
    refuse_overlap(links, settings)?;
    match links.add_bridge(name, hardware_of(gateway4(settings))) {
        // Somebody was faster, or an agent died before it was up.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(kernel(format!("make the bridge {name}")))?,
    }
    let Some(link) = find(links, settings)? else {
        return Err(kernel(format!("make the bridge {name}"))(io::ErrorKind::NotFound.into()));
    };
    look_after(links, settings, &link)?;
    // Last: a bridge that is up is ready.
    links.set_up(link.index).map_err(kernel(format!("set the bridge {name} up")))?;
    tracing::info!(bridge = name, "made");
    Ok(link)
}

/// Gives the bridge what it needs, as far as it lacks it: its addresses, and a kernel that forwards. `sysctl --system` and network managers
/// like to take both away.
pub(crate) fn look_after(links: &mut Links, settings: &Settings, link: &Link) -> Result<(), NetworkError> {
    let name = &settings.bridge;
    sysctl::prepare_bridge(settings).map_err(kernel(format!("set the bridge {name}'s kernel parameters")))?;
    for (address, prefix) in settings.gateways() {
        links
            .add_address(link.index, address, prefix)
            .map_err(kernel(format!("give the bridge {name} the address {address}")))?;
    }
    sysctl::forward(settings).map_err(kernel("let the kernel forward packets (net.ipv4.ip_forward)"))
}

/// What fits through the host's way out, so that nothing is split or lost there.
pub(crate) fn mtu(links: &mut Links, settings: &Settings) -> u32 {
    if let Some(mtu) = settings.mtu {
        return mtu;
    }
    let way_out = links.link_towards(SOMEWHERE).and_then(|index| links.get(index).ok().flatten());
    way_out.map_or(MTU_DEFAULT, |link| link.mtu).clamp(if settings.pool6.is_some() { MTU6_MIN } else { 576 }, 65535)
}

/// A pool within which the host reaches somebody else would hide them. A wide route by way of a router is no obstacle: a company that
/// routes all of 10.0.0.0/8 rarely uses all of it.
pub(crate) fn refuse_overlap(links: &mut Links, settings: &Settings) -> Result<(), NetworkError> {
    let pools =
        [Some(("pool", (IpAddr::from(settings.pool.0), settings.pool.1))), settings.pool6.map(|(a, p)| ("pool6", (a.into(), p)))];
    let own = find(links, settings)?.map(|link| link.index);
    for (key, pool) in pools.into_iter().flatten() {
        let routes = links.routes(pool.0).map_err(kernel("read the host's routes"))?;
        if let Some(route) = routes.iter().find(|route| Some(route.link) != own && hides(pool, route)) {
            let link = links.get(route.link).ok().flatten().map_or_else(|| "a link".to_owned(), |link| link.name);
            return Err(NetworkError::Overlap {
                key,
                pool: format!("{}/{}", pool.0, pool.1),
                route: format!("{}/{}", route.destination.0, route.destination.1),
                link,
            });
        }
    }
    Ok(())
}

fn hides(pool: (IpAddr, u8), route: &Route) -> bool {
    let is_wide_and_far = route.has_gateway && route.destination.1 < pool.1;
    overlap(pool, route.destination) && !is_wide_and_far
}

fn gateway4(settings: &Settings) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(settings.pool.0) | 1)
}
