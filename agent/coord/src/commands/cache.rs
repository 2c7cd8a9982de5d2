//! `coord cache`: made, filled, looked at, checked, deleted.

use crate::cli::{CacheCommand, CreateArgs, Form};
use crate::clock;
use crate::door::is_interrupted;
use crate::engine::{Engine, needs_length};
use crate::failure::{Failure, failure, local};
use crate::http::streamed;
use crate::laptop::Content;
use crate::output::Output;
use crate::pack::{PackError, pack, pack_file};
use bytes::Bytes;
use coord_shared::names::CacheName;
use coord_shared::quantity::ByteSize;
use coord_shared::text::{Cell, Column, Shrink, Table, age, until};
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{CacheKind, CacheView, Entry, EntryKind, NewCache, PutView, Verified};
use serde::Serialize;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// Something differs from the list.
const DIFFERS: u8 = 1;
/// Read of a file or of standard input at a time.
const PIECE_BYTES: usize = 128 * 1024;
/// Pieces on their way.
const PIECES_MAX: usize = 4;
/// Of what is no regular file and so has no mode of its own.
const MODE_DEFAULT: u32 = 0o644;
/// How often files are put again: agents are not replaced all the time.
const TRIES_MAX: u32 = 10;
/// Before files are put again.
const PAUSE: Duration = Duration::from_millis(50);
/// Names of what was passed over that are shown; the others are counted.
const SHOWN_MAX: usize = 5;

pub(super) async fn run(engine: &Engine, command: CacheCommand, output: &Output) -> Result<u8, Failure> {
    match command {
        CacheCommand::Create(args) => create(engine, args, output).await?,
        CacheCommand::Put { name, source, to, form } => {
            let put = put(engine, &name, &source, to.as_deref(), output).await?;
            print(output, form, &put, || put_line(&put))?;
        }
        CacheCommand::Ls { form } => {
            let caches = engine.caches().await?;
            print(output, form, &caches, || table(&caches).render(output.width(), output.palette))?;
        }
        CacheCommand::Show { name, form } => {
            let shown = Shown { cache: engine.cache(&name).await?, entries: engine.entries(&name).await? };
            print(output, form, &shown, || shown.text(output))?;
        }
        CacheCommand::Verify { name, form } => match engine.verify(&name).await {
            Ok(verified) => print(output, form, &verified, || format!("{name}: {}\n", verified_words(&verified)))?,
            Err(error) if error.code == "altered" => {
                output.failure(&error);
                return Ok(DIFFERS);
            }
            Err(error) => return Err(error.into()),
        },
        CacheCommand::Rm { names, force } => remove(engine, &names, force).await?,
    }
    Ok(0)
}

async fn create(engine: &Engine, args: CreateArgs, output: &Output) -> Result<(), Failure> {
    let from = args.from.as_deref().map(absolute).transpose()?;
    let asked =
        NewCache { name: args.name, path: args.path, ttl: args.ttl, ttl_from: args.ttl_from.into(), from, size: args.size };
    let mut cache = engine.create_cache(&asked).await?;
    if let (Engine::Laptop(_), Some(from)) = (engine, &args.from) {
        // A copy, half of which is no use.
        cache = match put(engine, &asked.name, from, None, output).await {
            Ok(put) => put.cache,
            Err(error) => {
                engine.remove_cache(&asked.name).await?;
                return Err(error.into());
            }
        };
    }
    if let Some(because) = &cache.because {
        output.note(&format!("cache {} is a copy of {}: {because}", cache.name, cache.from.as_deref().unwrap_or("the folder")));
    }
    print(output, args.form, &cache, || {
        let lives = match (&cache.expires_at, asked.ttl) {
            (_, Some(ttl)) => format!(", lives {ttl}"),
            (Some(at), None) => format!(", lives until {at}"),
            (None, None) => String::new(),
        };
        let of = if cache.kind == CacheKind::Live { cache.from.as_deref().map(|from| format!(" of {from}")) } else { None };
        format!("{}: {}{}, open at {}{lives}\n", cache.name, cache.kind, of.unwrap_or_default(), cache.path)
    })?;
    Ok(())
}

/// A folder of this container, as it is called from its root.
fn absolute(folder: &Path) -> Result<String, ErrorBody> {
    let whole = std::path::absolute(folder).map_err(|e| local(&format!("find {}", folder.display()), e))?;
    whole.into_os_string().into_string().map_err(|_| {
        failure("invalid_request", format!("{} is no text that can be asked for", folder.display()), Some("rename the folder"))
    })
}

/// Puts what is at `source`; again, where an agent is replaced before it answers, since half of it is never visible.
async fn put(engine: &Engine, name: &CacheName, source: &Path, to: Option<&str>, output: &Output) -> Result<PutView, ErrorBody> {
    if source == Path::new("-") {
        let below = to.unwrap_or_default();
        return engine.put_archive(name, below, read_all(io::stdin())).await;
    }
    let mut tries = 0;
    loop {
        let meta = std::fs::metadata(source).map_err(|e| local(&format!("look at {}", source.display()), e))?;
        let put = if meta.is_dir() {
            let folder = source.to_owned();
            put_packed(engine, name, to.unwrap_or_default(), move |sender| pack(&folder, sender), output).await
        } else {
            put_file(engine, name, (source, &meta), to, output).await
        };
        match put {
            // The next one is waited for before anything is sent.
            Err(error) if is_interrupted(&error) && (meta.is_dir() || meta.is_file()) && tries < TRIES_MAX => tries += 1,
            put => return put,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn put_file(
    engine: &Engine,
    name: &CacheName,
    (source, meta): (&Path, &std::fs::Metadata),
    to: Option<&str>,
    output: &Output,
) -> Result<PutView, ErrorBody> {
    let file = std::fs::File::open(source).map_err(|e| local(&format!("open {}", source.display()), e))?;
    let place = place(source, to)?;
    match engine {
        Engine::Door(door) => {
            let mode = if meta.is_file() { meta.mode() & 0o7777 } else { MODE_DEFAULT };
            door.put_file(name, &place, mode, streamed(read_all(file))).await
        }
        Engine::Laptop(_) if !meta.is_file() => Err(needs_length(source)),
        Engine::Laptop(_) => {
            let (folder, own) = place.rsplit_once('/').unwrap_or(("", &place));
            let own = own.to_owned();
            put_packed(engine, name, folder, move |sender| pack_file(file, &own, sender), output).await
        }
    }
}

/// Where a file goes: a final slash names its folder.
fn place(source: &Path, to: Option<&str>) -> Result<String, ErrorBody> {
    let own = || {
        let name = source.file_name().and_then(|name| name.to_str());
        name.ok_or_else(|| {
            failure("invalid_request", format!("{} has no name of its own", source.display()), Some("give it one with --to"))
        })
    };
    Ok(match to {
        None => own()?.to_owned(),
        Some(folder) if folder.is_empty() || folder.ends_with('/') => format!("{folder}{}", own()?),
        Some(path) => path.to_owned(),
    })
}

/// Puts what is packed meanwhile, on a thread of its own.
async fn put_packed(
    engine: &Engine,
    name: &CacheName,
    below: &str,
    pack: impl FnOnce(mpsc::Sender<io::Result<Bytes>>) -> Result<Vec<String>, PackError> + Send + 'static,
    output: &Output,
) -> Result<PutView, ErrorBody> {
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    let packing = tokio::task::spawn_blocking(move || pack(sender));
    let put = engine.put_archive(name, below, pieces).await;
    let packed = packing.await.map_err(|e| local("pack the files", e))?;
    match (put, packed) {
        (Err(error), Err(PackError::Gone) | Ok(_)) => Err(error),
        (_, Err(error)) => Err(local_chain(&error)),
        (Ok(put), Ok(passed_over)) => {
            for one in passed_over.iter().take(SHOWN_MAX) {
                output.note(&format!("passed over {one}"));
            }
            if let Some(more) = passed_over.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
                output.note(&format!("passed over {more} more such files"));
            }
            Ok(put)
        }
    }
}

fn local_chain(error: &PackError) -> ErrorBody {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    failure("not_packed", format!("{error}{cause}; nothing was put"), None)
}

/// A file, piece by piece. Its thread waits for the rest of it, and ends with the process.
fn read_all(mut from: impl Read + Send + 'static) -> Content {
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    std::thread::spawn(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let read = from.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece);
            let is_over = !matches!(read, Ok(1..));
            let piece = read.map(|_| Bytes::from(piece));
            if piece.as_ref().is_ok_and(Bytes::is_empty) || sender.blocking_send(piece).is_err() || is_over {
                return;
            }
        }
    });
    pieces
}

async fn remove(engine: &Engine, names: &[CacheName], force: bool) -> Result<(), ErrorBody> {
    let mut first = None;
    for name in names {
        match engine.remove_cache(name).await {
            Err(error) if force && error.code == "no_such_cache" => {}
            Err(error) => drop(first.get_or_insert(error)),
            Ok(()) => {}
        }
    }
    first.map_or(Ok(()), Err)
}

fn print<T: Serialize>(output: &Output, form: Form, body: &T, text: impl FnOnce() -> String) -> io::Result<()> {
    if form.json { output.json(body) } else { output.data(&text()) }
}

fn put_line(put: &PutView) -> String {
    let (cache, bytes) = (&put.cache, ByteSize(put.bytes).human());
    format!(
        "{}: {} put, {bytes}; it holds {}, {}\n",
        cache.name,
        files(put.files),
        files(cache.files),
        ByteSize(cache.bytes).human()
    )
}

fn files(number: u64) -> String {
    if number == 1 { "1 file".to_owned() } else { format!("{number} files") }
}

/// What a comparison found, in words.
pub(super) fn verified_words(verified: &Verified) -> String {
    let how = match (verified.hashed, verified.sampled) {
        (hashed, 0) => format!("{hashed} compared whole"),
        (hashed, sampled) => format!("{hashed} compared whole, {sampled} by pieces"),
    };
    format!("verified, {}, {} ({how})", files(verified.files), ByteSize(verified.bytes).human())
}

fn table(caches: &[CacheView]) -> Table {
    let mut table = Table::new(&[
        Column::left("CACHE"),
        Column::left("KIND"),
        Column::right("FILES"),
        Column::right("SIZE"),
        Column::right("AGE"),
        Column::right("LEFT"),
        Column::left("PATH").shrinks(Shrink::Start(12)),
        Column::left("USED BY").shrinks(Shrink::End(12)),
    ]);
    let now = clock::now();
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    for cache in caches {
        let used_by: Vec<&str> = cache.used_by.iter().map(AsRef::as_ref).collect();
        let left = cache.expires_at.map(|at| until(now, at).unwrap_or_else(|| "0s".to_owned()));
        table.row([
            Cell::new(cache.name.as_str()),
            Cell::new(cache.kind.to_string()),
            Cell::new(cache.files.to_string()),
            Cell::new(ByteSize(cache.bytes).human()),
            Cell::new(age(now, cache.created_at)),
            Cell::new(or_dash(left.unwrap_or_default())),
            Cell::new(&cache.path),
            Cell::new(or_dash(used_by.join(", "))),
        ]);
    }
    table
}

/// A cache and all that is in it.
#[derive(Serialize)]
struct Shown {
    cache: CacheView,
    entries: Vec<Entry>,
}

impl Shown {
    fn text(&self, output: &Output) -> String {
        let mut list =
            Table::new(&[Column::left("MODE"), Column::right("SIZE"), Column::left("PATH").shrinks(Shrink::Start(20))]);
        for entry in &self.entries {
            let (kind, size) = match entry.kind {
                EntryKind::Folder => ('d', String::new()),
                EntryKind::File => ('-', entry.size.to_string()),
                EntryKind::Link => ('l', String::new()),
                EntryKind::Special => ('?', String::new()),
            };
            let target = entry.target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
            list.row([
                Cell::new(format!("{kind}{:04o}", entry.mode)),
                Cell::new(size),
                Cell::new(format!("{}{target}", entry.path)),
            ]);
        }
        let head = table(std::slice::from_ref(&self.cache)).render(output.width(), output.palette);
        format!("{head}\n{}", list.render(output.width(), output.palette))
    }
}
