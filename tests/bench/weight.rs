//! What containers weigh: the proportional set size of everything that an engine keeps running for 0, 10 and 100 of them.
//!
//! Every process counts that is not the container itself: daemons, shims, monitors, proxies. Each container is one sleeping program. The
//! memory of the kernel is left out: it is the same for all.

use anyhow::{Context, Result, bail};
use coord_tests::image::web;
use coord_tests::lone::LoneHost;
use coord_tests::process::{Pid, proportional_memory};
use coord_tests::say;

use crate::rivals::{Kind, limits};
use crate::table::{self, Table, mib};

pub(crate) const USAGE: &str = "       coord-bench memory [--quick]";

const SIZES: [usize; 3] = [0, 10, 100];

/// Daemon (or agent), and everything that stays beside the containers.
type Weights = Vec<(u64, u64)>;

pub(crate) fn run(words: &[&str]) -> Result<()> {
    let sizes: &[usize] = match words {
        [] => &SIZES,
        ["--quick"] => &SIZES[..2],
        _ => bail!("unknown: {}\n{USAGE}", words.join(" ")),
    };
    let mut table = Table::new(&["who", "containers", "daemon", "beside the containers", "in all", "for each container"]);
    show(&mut table, "**coord**", sizes, ours(sizes));
    for kind in [Kind::Docker, Kind::Podman, Kind::Containerd] {
        let weights = kind.missing().map_or_else(|| rival(kind, sizes), |why| Err(anyhow::anyhow!(why)));
        show(&mut table, kind.name(), sizes, weights);
    }
    table::print(&[("Memory (PSS)", &table)])
}

fn show(table: &mut Table, who: &str, sizes: &[usize], weights: Result<Weights>) {
    match weights {
        Ok(weights) => {
            for (count, (daemon, beside)) in sizes.iter().zip(weights) {
                let each = if *count == 0 { "-".to_owned() } else { format!("{} KiB", beside / 1024 / *count as u64) };
                table.row(&[who.to_owned(), count.to_string(), mib(daemon), mib(beside), mib(daemon + beside), each]);
            }
        }
        Err(error) => {
            say(&format!("{who}: {error:#}"));
            table.row(&[who, "-", error.root_cause().to_string().lines().next().unwrap_or_default(), "-", "-", "-"]);
        }
    }
}

fn ours(sizes: &[usize]) -> Result<Weights> {
    let mut host = LoneHost::new()?;
    let image = host.push(&web::image("1")?, "weight")?;
    host.start_agent()?;
    host.wait_agent()?;
    let (mut weights, mut there) = (Weights::new(), 0);
    for count in sizes {
        for number in there..*count {
            host.write(
                &format!("sleep-{number}"),
                &format!("image = {image:?}\nnetwork = \"none\"\ncommand = [\"/bin/sleep\", \"100000\"]\n"),
            )?;
        }
        for number in there..*count {
            host.wait_running(&format!("sleep-{number}.0"))?;
        }
        there = *count;
        let agent = host.agent()?.pid();
        let inits: Vec<i32> = host.running().values().filter_map(|seen| seen.init).collect();
        let beside: Vec<Pid> =
            host.group().pids().into_iter().filter(|pid| *pid != agent && !inits.contains(&pid.as_raw())).collect();
        weights.push((proportional_memory(agent)?, sum(&beside)));
    }
    Ok(weights)
}

fn rival(kind: Kind, sizes: &[usize]) -> Result<Weights> {
    let rival = kind.start()?;
    let image = rival.load(&web::image("1")?, "weight")?;
    let (mut weights, mut there) = (Weights::new(), 0);
    for count in sizes {
        for number in there..*count {
            let name = format!("sleep-{number}");
            match kind {
                Kind::Containerd => rival.ok(&["run", "-d", &image, &name, "/bin/sleep", "100000"])?,
                Kind::Docker | Kind::DockerWithoutProxy | Kind::Podman => {
                    let words =
                        [&["run", "-d", "--network", "none", "--name", &name], limits(kind), &[&image, "/bin/sleep", "100000"]]
                            .concat();
                    rival.ok(&words)?
                }
            };
        }
        there = *count;
        // The engine's own are in its cell, with what they started; its containers run `sleep`, as the cell's holder does.
        let pids = rival.processes().context("its processes")?;
        let of_daemon = |pid: &Pid| ["dockerd", "containerd"].contains(&program(*pid).as_str());
        let (daemons, beside): (Vec<Pid>, Vec<Pid>) =
            pids.into_iter().filter(|pid| !["sleep", "busybox"].contains(&program(*pid).as_str())).partition(of_daemon);
        weights.push((sum(&daemons), sum(&beside)));
    }
    Ok(weights)
}

fn program(pid: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn sum(pids: &[Pid]) -> u64 {
    pids.iter().filter_map(|pid| proportional_memory(*pid).ok()).sum()
}
