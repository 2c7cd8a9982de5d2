//! From the moment at which a document is in its place to the moment at which its process answers.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use coord_tests::fleet::{FLEET_LIMIT, Fleet, Plan, free_port};
use coord_tests::process::proportional_memory;
use coord_tests::say;

use crate::Size;
use crate::table::{Table, mib};

/// Between two looks at a port: far below what is measured, far above what a look costs.
const LOOK_EVERY: Duration = Duration::from_micros(300);
const LOCAL: [u8; 4] = [127, 0, 0, 1];
/// The large fleet's ports: `FLEET_PORT + run * agents + host`, below the kernel's own choice of ports.
const FLEET_PORT: usize = 20_000;

/// Waits until somebody accepts connections there; gives the time since `start`.
pub(crate) fn until_listening(port: u16, start: Instant) -> Result<Duration> {
    let address = SocketAddr::from((LOCAL, port));
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        if start.elapsed() > FLEET_LIMIT {
            bail!("nobody listens on port {port}");
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(start.elapsed())
}

fn document(fleet: &Fleet, command: &str) -> String {
    // SIGKILL, because httpd as the first process of a container has no handler for SIGTERM.
    format!(
        "image = {:?}\nhosts = [\"h*\"]\nnetwork = \"host\"\nstop_signal = \"SIGKILL\"\ncommand = {command}\n",
        fleet.web("1")
    )
}

fn httpd(port: u16) -> String {
    format!("[\"httpd\", \"-f\", \"-p\", \"127.0.0.1:{port}\", \"-h\", \"/www\"]")
}

/// A new workload, and an edit that replaces a container, on one host with the image present.
pub(crate) fn one_host(size: &Size, table: &mut Table) -> Result<()> {
    let fleet = Plan::processes(1).start()?;
    fleet.push_web(&["1"])?;
    let (mut new, mut edited) = (Vec::new(), Vec::new());
    // The first run pulls the image, and is not counted.
    for run in 0..=size.runs {
        say(&format!("one host, run {run} of {}", size.runs));
        let name = format!("run-{run}");
        for times in [&mut new, &mut edited] {
            let port = free_port()?;
            let text = document(&fleet, &httpd(port));
            let start = Instant::now();
            fleet.write_document(&name, &text)?;
            let took = until_listening(port, start)?;
            if run > 0 {
                times.push(took);
            }
            fleet.wait_ready(&name, &["h0"])?;
        }
        fleet.delete_document(&name)?;
        fleet.wait_gone(&name)?;
    }
    table.times("new document saved", "its process answers, 1 host", new);
    table.times("edited document saved", "the new process answers, the old one stopped first, 1 host", edited);
    Ok(())
}

/// A new workload on many agents on this machine at once.
pub(crate) fn fleet(size: &Size, times: &mut Table, bytes: &mut Table) -> Result<()> {
    say(&format!("starting {} agents", size.agents));
    let fleet = Plan::processes(size.agents).start()?;
    fleet.push_web(&["1"])?;
    let (mut first, mut last, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=size.fleet_runs {
        say(&format!("{} agents, run {run} of {}", size.agents, size.fleet_runs));
        let name = format!("run-{run}");
        let base = FLEET_PORT + run * size.agents;
        let script = format!("exec httpd -f -p 127.0.0.1:$(({base} + ${{COORD_HOST#h}})) -h /www");
        let text = document(&fleet, &format!("[\"sh\", \"-c\", {script:?}]"));
        let start = Instant::now();
        fleet.write_document(&name, &text)?;
        let took = all_listening(base, size.agents, start)?;
        if run > 0 {
            first.extend(took.iter().min());
            last.extend(took.iter().max());
            all.extend(took);
        }
        fleet.wait_revision(&name, 1)?;
        if run == size.fleet_runs {
            let pss = proportional_memory(fleet.coordinator()?.pid())?;
            bytes.row(&[format!("coordinator with {} agents", size.agents), mib(pss)]);
        }
        fleet.delete_document(&name)?;
        fleet.wait_gone(&name)?;
    }
    let agents = size.agents;
    times.times("new document saved", &format!("the first of {agents} agents' processes answers"), first);
    times.times("new document saved", &format!("each of {agents} agents' processes answers"), all);
    times.times("new document saved", &format!("the last of {agents} agents' processes answers"), last);
    Ok(())
}

/// When each port came to be listened on. Looked at in turn by one thread: two processors have enough to do.
fn all_listening(base: usize, count: usize, start: Instant) -> Result<Vec<Duration>> {
    let mut waiting: Vec<u16> = (base..base + count).map(u16::try_from).collect::<Result<_, _>>()?;
    let mut took = Vec::new();
    while !waiting.is_empty() {
        waiting.retain(|port| {
            let answers = TcpStream::connect(SocketAddr::from((LOCAL, *port))).is_ok();
            if answers {
                took.push(start.elapsed());
            }
            !answers
        });
        if start.elapsed() > FLEET_LIMIT {
            bail!("nobody listens on ports {waiting:?}");
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(took)
}
