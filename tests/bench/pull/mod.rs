//! From an image in a registry to a mounted root file system, side by side with every engine that is installed.
//!
//! One local registry, images whose blobs are in the page cache, an empty store in a fresh folder for each run. The
//! engines take turns, so that a busy minute of the machine hits them all. Daemons are started before the clock and ended
//! after it, with folders and sockets of their own: nothing of the machine's own engines is touched. Deleting is not
//! timed, and put off while there is room: a file system that has just deleted much creates files slowly.
//!
//! The floor is what nobody can beat who inflates with the processors of this machine: the layers by `curl` through the
//! fastest inflater into /dev/null, nothing hashed, nothing written.

mod engine;
mod floor;
pub(crate) mod images;
mod meter;
mod room;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coord_tests::registry::TestRegistry;
use coord_tests::say;

use crate::table::{self, Table, mib};
use engine::Engine;
use images::Served;
use meter::Cost;
use room::Room;

pub(crate) const USAGE: &str =
    "usage: coord-bench pull --images DIR [--quick | --runs N] [--only NAME,...] [--engines NAME,...] [--dir DIR]";

/// The images that the figures of the documentation are of, and what each stands for.
const IMAGES: [&str; 4] = ["debian", "pyapp", "manyfiles", "bigfile"];
/// One layer of the second differs from the first.
const REDEPLOY: [&str; 2] = ["pyapp", "pyapp2"];
const RUNS: usize = 5;
const RUNS_QUICK: usize = 3;

struct Options {
    images: PathBuf,
    runs: usize,
    only: Vec<String>,
    engines: Vec<Engine>,
    dir: PathBuf,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Options> {
        let mut options = Options {
            images: std::env::var_os("COORD_BENCH_IMAGES").map(PathBuf::from).unwrap_or_default(),
            runs: RUNS,
            only: [&IMAGES[..], &["redeploy"]].concat().into_iter().map(str::to_owned).collect(),
            engines: Engine::ALL.to_vec(),
            dir: std::env::temp_dir(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if *word == "--quick" {
                options.runs = RUNS_QUICK;
                continue;
            }
            let value = words.next().with_context(|| format!("{word}: not known, or without its value\n{USAGE}"))?;
            match *word {
                "--images" => options.images = PathBuf::from(value),
                "--runs" => options.runs = value.parse().with_context(|| format!("--runs {value}"))?,
                "--only" => options.only = value.split(',').map(str::to_owned).collect(),
                "--engines" => options.engines = value.split(',').map(Engine::named).collect::<Result<_>>()?,
                "--dir" => options.dir = PathBuf::from(value),
                other => bail!("{other}: not known\n{USAGE}"),
            }
        }
        if options.images.as_os_str().is_empty() {
            bail!("no images; make them with tests/bench/images.sh DIR\n{USAGE}");
        }
        Ok(options)
    }
}

/// Everything that the command line asks for; Markdown on standard output.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse(words)?;
    let registry = TestRegistry::start()?;
    let mut room = Room::make(&options.dir)?;
    floor::warm_memory()?;
    let mut tables = Vec::new();
    for name in options.only.iter().filter(|name| *name != "redeploy") {
        for zstd in [false, true] {
            let image = images::serve(&options.images, name, zstd, &registry)?;
            let table = one_image(&options, &image, None, &mut room)?;
            tables.push((image.title(), table));
        }
    }
    if options.only.iter().any(|name| name == "redeploy") {
        let [first, second] = REDEPLOY.map(|name| images::serve(&options.images, name, false, &registry));
        let second = second?;
        let table = one_image(&options, &second, Some(&first?), &mut room)?;
        tables.push((format!("redeploy: {} while {} is present", REDEPLOY[1], REDEPLOY[0]), table));
    }
    room.clear();
    let titled: Vec<(&str, &Table)> = tables.iter().map(|(title, table)| (title.as_str(), table)).collect();
    table::print(&titled)
}

/// What one engine did with one image, over all runs; or why it did nothing.
type Outcome = Result<Vec<Cost>, String>;

/// One image by every engine, `options.runs` times; `present` is pulled before the clock starts.
fn one_image(options: &Options, image: &Served, present: Option<&Served>, room: &mut Room) -> Result<Table> {
    let (mut floors, mut outcomes) = ([Vec::new(), Vec::new()], vec![Outcome::Ok(Vec::new()); options.engines.len()]);
    floor::warm_pages(image)?;
    for run in 1..=options.runs {
        if present.is_none() {
            for (costs, workers) in floors.iter_mut().zip([1, floor::processors()]) {
                costs.push(meter::run(None, &floor::lines(image, workers))?);
            }
        }
        for (engine, outcome) in options.engines.iter().zip(&mut outcomes) {
            say(&format!("{}: {}, run {run} of {}", image.title(), engine.name(), options.runs));
            let Ok(costs) = outcome else { continue };
            match once(*engine, image, present, room) {
                Ok(cost) => costs.push(cost),
                Err(error) => {
                    say(&format!("{}: {error:#}", engine.name()));
                    *outcome = Err(format!("{error:#}").lines().next().unwrap_or_default().to_owned());
                }
            }
        }
    }
    Ok(show(options, &floors, &outcomes))
}

/// One engine with an empty store, or one that holds `present`.
fn once(engine: Engine, image: &Served, present: Option<&Served>, room: &mut Room) -> Result<Cost> {
    if let Some(why) = engine.refuses(image.zstd) {
        bail!("{why}");
    }
    if present.is_some() && !engine.shares_layers() {
        bail!("unpacks the whole image again");
    }
    let mut session = engine.start(room.folder()?, &image.authority)?;
    if let Some(present) = present {
        meter::run(session.daemon(), &session.lines(&present.reference)?)?;
    }
    floor::settle();
    let measured = meter::run(session.daemon(), &session.lines(&image.reference)?);
    session.end()?;
    measured
}

fn show(options: &Options, floors: &[Vec<Cost>; 2], outcomes: &[Outcome]) -> Table {
    let mut table = Table::new(&["", "median", "least", "CPU", "peak RSS", "written", "times the floor"]);
    let floor = floors.iter().filter_map(|costs| median(costs, |cost| cost.time)).min();
    let names = ["floor, one layer at a time", "floor, a layer per processor"];
    for (name, costs) in names.iter().zip(floors).filter(|(_, costs)| !costs.is_empty()) {
        row(&mut table, name, costs, floor);
    }
    for (engine, outcome) in options.engines.iter().zip(outcomes) {
        match outcome {
            Ok(costs) => row(&mut table, engine.name(), costs, floor),
            Err(why) => table.row(&[engine.name(), why, "-", "-", "-", "-", "-"]),
        }
    }
    table
}

fn row(table: &mut Table, name: &str, costs: &[Cost], floor: Option<Duration>) {
    let time = median(costs, |cost| cost.time);
    let ratio = time.zip(floor).map(|(time, floor)| format!("{:.2}", time.as_secs_f64() / floor.as_secs_f64()));
    let seconds = |time: Option<Duration>| time.map_or("-".to_owned(), |time| format!("{:.3} s", time.as_secs_f64()));
    let bytes = |bytes: Option<u64>| bytes.map_or("-".to_owned(), mib);
    table.row(&[
        name.to_owned(),
        seconds(time),
        seconds(costs.iter().map(|cost| cost.time).min()),
        seconds(median(costs, |cost| cost.cpu)),
        bytes(costs.iter().map(|cost| cost.peak_rss_bytes).max()),
        bytes(median(costs, |cost| cost.written_bytes)),
        ratio.unwrap_or("-".to_owned()),
    ]);
}

fn median<T: Ord + Copy>(costs: &[Cost], of: impl Fn(&Cost) -> T) -> Option<T> {
    let mut values: Vec<T> = costs.iter().map(of).collect();
    values.sort();
    values.get(values.len() / 2).copied()
}
