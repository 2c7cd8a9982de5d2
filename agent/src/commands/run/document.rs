//! What was typed, as a document: the same parser checks it, with the same limits and the same words as for everything else that runs
//! here.

use super::super::failure;
use crate::cli::RunArgs;
use coord_shared::decide::planner::Spec;
use coord_shared::document::{self, Document};
use coord_shared::names::{Digest, Revision};
use coord_shared::wire::ErrorBody;
use toml::{Table, Value};

/// The document.
pub(super) fn text(args: &RunArgs) -> Result<String, ErrorBody> {
    let mut table = Table::new();
    let mut put = |key: &str, value: Value| drop(table.insert(key.to_owned(), value));
    let words = |words: &[String]| Value::Array(words.iter().cloned().map(Value::String).collect());
    put("image", Value::String(args.image.clone()));
    put("hosts", words(&["*".to_owned()]));
    put("network", Value::String(args.network.word().to_owned()));
    if !args.command.is_empty() {
        put("command", words(&args.command));
    }
    if let Some(user) = &args.user {
        put("user", Value::String(user.clone()));
    }
    if let Some(dir) = &args.workdir {
        put("working_dir", Value::String(dir.clone()));
    }
    if args.read_only {
        put("read_only", Value::Boolean(true));
    }
    if !args.volumes.is_empty() {
        put("volumes", words(&args.volumes));
    }
    let mut environment: Table = args.environment.iter().map(|v| v.resolve()).map(|(k, v)| (k, Value::String(v))).collect();
    if args.tty {
        // As every engine says it; programs that know better are told with -e TERM.
        environment.entry("TERM").or_insert_with(|| Value::String("xterm".to_owned()));
    }
    put("environment", Value::Table(environment));
    let mut resources = Table::new();
    if let Some(memory) = &args.memory {
        resources.insert("memory".to_owned(), Value::String(memory.clone()));
    }
    if let Some(cpus) = args.cpus {
        resources.insert("cpus".to_owned(), Value::Float(cpus));
    }
    put("resources", Value::Table(resources));
    toml::to_string(&table).map_err(|e| failure("invalid_container", format!("this cannot be written as a document: {e}")))
}

pub(super) fn parse(text: &str) -> Result<Document, ErrorBody> {
    document::parse(text).map_err(|mistakes| failure("invalid_container", mistakes.summary(text)))
}

/// What is to run, of that image.
pub(super) fn spec(document: Document, digest: &Digest) -> Spec {
    let fingerprint = document.fingerprint(digest);
    Spec { revision: Revision(1), image: document.image.clone().pin(digest.clone()), document, fingerprint }
}
