//! `coord-agent doctor`.

use super::{CommandError, Outcome, failure, load, with_state_dir};
use crate::cli::{DEFAULT_CONFIG, DoctorArgs, Format};
use crate::output::Output;
use coord_agent::config;
use coord_agent::doctor::{self, Check, Verdict};
use coord_shared::text::{Tone, printable};
use std::path::PathBuf;

/// Width of the verdicts, in columns.
const VERDICT_COLUMNS: usize = 7;
/// Widest that the column of names becomes; longer ones stand out.
const WHAT_MAX_COLUMNS: usize = 40;

pub(super) async fn run(args: &DoctorArgs, output: &Output) -> Result<Outcome, CommandError> {
    let mut checks = Vec::new();
    let config = match load(&args.host) {
        Ok(config) => {
            let from = args.host.config.clone().or_else(|| Some(DEFAULT_CONFIG.into()).filter(|path: &PathBuf| path.exists()));
            let from = from.map_or("none; the defaults apply".to_owned(), |path| format!("{} is valid", path.display()));
            checks.push(Check::ok("agent.toml", from));
            config
        }
        // With the defaults there is still much to say.
        Err(error) => {
            checks.push(doctor::unusable(&error));
            config::defaults().map_err(|error| failure("invalid_configuration", coord_agent::chain(&error)))?
        }
    };
    checks.extend(doctor::examine(&with_state_dir(config, &args.host)?).await);
    if args.quiet {
        checks.retain(|check| check.verdict != Verdict::Ok);
    }
    match args.format.format {
        Format::Json => output.json(&checks)?,
        Format::Table => output.data(&text(&checks, output))?,
    }
    Ok(if checks.iter().any(|check| check.verdict == Verdict::Problem) { Outcome::Bad } else { Outcome::Done })
}

fn text(checks: &[Check], output: &Output) -> String {
    let mut text = String::new();
    let columns = checks.iter().map(|check| check.what.chars().count()).max().unwrap_or(0).min(WHAT_MAX_COLUMNS);
    for Check { what, verdict, found, cost, cure } in checks {
        let (word, tone) = match verdict {
            Verdict::Ok => ("ok", Tone::Good),
            Verdict::Note => ("note", Tone::Warn),
            Verdict::Problem => ("problem", Tone::Bad),
        };
        let padding = " ".repeat(VERDICT_COLUMNS - word.len());
        let word = output.palette.paint(tone, word);
        text.push_str(&format!("{word}{padding}  {what:columns$}  {}\n", printable(found)));
        for (name, more) in [("costs", cost), ("cure", cure)] {
            if let Some(more) = more {
                let indent = " ".repeat(VERDICT_COLUMNS + 2);
                text.push_str(&format!(
                    "{indent}{} {}\n",
                    output.palette.paint(Tone::Faint, &format!("{name}:")),
                    printable(more)
                ));
            }
        }
    }
    let count = |wanted: Verdict| checks.iter().filter(|check| check.verdict == wanted).count();
    let (problems, notes) = (count(Verdict::Problem), count(Verdict::Note));
    text.push_str(&format!("{problems} problem{}, {notes} note{}\n", plural(problems), plural(notes)));
    text
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
