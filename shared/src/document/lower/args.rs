//! `entrypoint` and `command`: what is run.

use crate::document::diagnostic::{Diagnostic, Rule};
use crate::document::raw::{Field, Mistakes, field};
use crate::document::words;
use toml::de::{DeTable, DeValue};

/// What `entrypoint` and `command` say; None for what is left to the image.
pub(crate) struct Args {
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) command: Option<Vec<String>>,
}

pub(crate) fn args(root: &DeTable<'_>, section: &str, mistakes: &mut Mistakes) -> Args {
    let entrypoint = field(root, section, "entrypoint");
    let command = field(root, section, "command");
    let args = Args {
        entrypoint: entrypoint.as_ref().and_then(|field| list(field, mistakes)),
        command: command.as_ref().and_then(|field| list(field, mistakes)),
    };
    // A wrong value left a None behind, which must not be taken for an absent key.
    let readable = args.entrypoint.is_some() == entrypoint.is_some() && args.command.is_some() == command.is_some();
    if let Some(field) = entrypoint
        && readable
    {
        check_program(&field, &args, mistakes);
    }
    args
}

/// With an entrypoint of its own, the document alone decides which program runs: there must be one.
fn check_program(entrypoint: &Field<'_>, args: &Args, mistakes: &mut Mistakes) {
    let program = args.entrypoint.iter().chain(&args.command).flatten().next();
    let problem = match program.map(String::as_str) {
        None => "`entrypoint` is empty, and no `command` says what to run",
        Some("") => "`entrypoint` starts with an empty word, which is no program",
        Some(_) => return,
    };
    mistakes.push(
        Diagnostic::new(Rule::NothingToRun, entrypoint.span(), problem)
            .hint("name the program, or remove `entrypoint` to run what the image says"),
    );
}

pub(crate) fn list(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Vec<String>> {
    match field.value.get_ref() {
        DeValue::String(_) => split(field, mistakes),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => field.texts("an array of strings or a string", mistakes),
    }
}

fn split(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Vec<String>> {
    let line = field.text(mistakes)?;
    match words::split(line) {
        Ok(words) => {
            field.few_enough(words.len(), mistakes)?;
            Some(words)
        }
        Err(error) => {
            let hint = match error {
                words::WordsError::Shell(_) => {
                    "for a shell write [\"sh\", \"-c\", \"...\"]; for the character itself put it in single quotes"
                }
                words::WordsError::OpenQuote(_) | words::WordsError::OpenBackslash => {
                    "write one string a word, as in [\"nginx\", \"-g\", \"daemon off;\"]"
                }
            };
            mistakes.push(field.wrong(Rule::BadCommand, error).hint(hint));
            None
        }
    }
}
