//! A command line as one string: `nginx -g 'daemon off;'`, split as Compose and a POSIX shell split it (XCU 2.2, "Quoting").
//!
//! No shell runs the words. So what only a shell could do (pipes, redirections, variables, comments) is an error here, where
//! Compose's splitter silently drops the rest of the line or passes the characters on.

use std::str::Chars;

/// Why a command line cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum WordsError {
    /// With the quote that opens it.
    #[error("the quote {0} is not closed")]
    OpenQuote(char),
    /// A backslash at the end.
    #[error("nothing follows the last backslash")]
    OpenBackslash,
    /// What a shell would act on.
    #[error("`{0}` is for a shell, and no shell runs this")]
    Shell(char),
}

/// The words of `line`; none for a blank one.
pub(super) fn split(line: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    // Apart from an empty word: quotes can make one.
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => single_quoted(&mut chars, word.get_or_insert_default())?,
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next().ok_or(WordsError::OpenBackslash)? {
                '\n' => {}
                other => word.get_or_insert_default().push(other),
            },
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' => return Err(WordsError::Shell(c)),
            '#' if word.is_none() => return Err(WordsError::Shell(c)),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Everything up to the next single quote stands for itself.
fn single_quoted(chars: &mut Chars<'_>, word: &mut String) -> Result<(), WordsError> {
    for c in chars {
        if c == '\'' {
            return Ok(());
        }
        word.push(c);
    }
    Err(WordsError::OpenQuote('\''))
}

/// Up to the next double quote; a backslash protects only what is special there.
fn double_quoted(chars: &mut Chars<'_>, word: &mut String) -> Result<(), WordsError> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '$' | '`' => return Err(WordsError::Shell(c)),
            '\\' => match chars.next().ok_or(WordsError::OpenQuote('"'))? {
                '\n' => {}
                special @ ('"' | '\\' | '$' | '`') => word.push(special),
                other => word.extend(['\\', other]),
            },
            _ => word.push(c),
        }
    }
    Err(WordsError::OpenQuote('"'))
}
