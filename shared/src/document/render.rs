//! How mistakes look: `file:line:column`, the line, a caret, the cure, as rustc shows its own.
//!
//! A text comes from anywhere, and its report ends in terminals: whatever could steer one (escape characters, for instance) is
//! shown as a visible stand-in.

use super::{Diagnostic, Diagnostics};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};
use std::borrow::Cow;
use std::ops::Range;

impl Diagnostics {
    /// All mistakes for a person. `file` is the name to show, `text` the text that was parsed, `color` whether ANSI colors may be
    /// used. Ends with a newline.
    pub fn render(&self, file: &str, text: &str, color: bool) -> String {
        let file = normalize_untrusted_str(file);
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut shown: Vec<String> = self.iter().map(|diagnostic| render_one(&renderer, diagnostic, &file, text)).collect();
        if self.left_out > 0 {
            shown.push(format!("{file}: and {} more mistakes, not shown\n", self.left_out));
        }
        shown.join("\n")
    }

    /// One line: place and message of the mistake to tell first, and how many more there are, as in
    /// `3:9: unknown key "comand" (and 2 more)`. `text` is the text that was parsed.
    pub fn summary(&self, text: &str) -> String {
        let (line, column) = position(text, self.first().span.start);
        format!("{line}:{column}: {self}")
    }
}

fn render_one(renderer: &Renderer, diagnostic: &Diagnostic, file: &str, text: &str) -> String {
    // Only the lines that matter, so that a hundred mistakes in a long text stay cheap.
    let window = lines_around(diagnostic, text);
    let within = |span: &Range<usize>| {
        let start = span.start.clamp(window.start, window.end);
        start - window.start..span.end.clamp(start, window.end) - window.start
    };
    let mut snippet = Snippet::source(without_c1(&text[window.clone()]))
        .path(file)
        .line_start(position(text, window.start).0)
        .annotation(AnnotationKind::Primary.span(within(&diagnostic.span)).label(diagnostic.label.as_deref()));
    if let Some((span, label)) = &diagnostic.related {
        snippet = snippet.annotation(AnnotationKind::Context.span(within(span)).label(label.as_str()));
    }
    let title = Level::ERROR.primary_title(diagnostic.message.as_str()).id(diagnostic.rule.code());
    let mut group: Group<'_> = title.element(snippet);
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.with_name("hint").message(hint.as_str()));
    }
    renderer.render(&[group]) + "\n"
}

/// Shows the control characters of ISO 6429 beyond ASCII (U+009B starts a sequence in some terminals), which the renderer passes on, as
/// a sign of the same length. It takes care of all others.
fn without_c1(text: &str) -> Cow<'_, str> {
    let is_c1 = |c| ('\u{80}'..='\u{9f}').contains(&c);
    if text.contains(is_c1) { text.replace(is_c1, "¤").into() } else { text.into() }
}

/// The whole lines that a mistake and its related place touch.
fn lines_around(diagnostic: &Diagnostic, text: &str) -> Range<usize> {
    let related = diagnostic.related.as_ref().map_or(diagnostic.span.clone(), |(span, _)| span.clone());
    let first = floor_char(text, diagnostic.span.start.min(related.start));
    let last = floor_char(text, diagnostic.span.end.max(related.end)).max(first);
    let start = line_start(text, first);
    let end = text[last..].find('\n').map_or(text.len(), |newline| last + newline);
    start..end.max(start)
}

/// Line and column of a byte of `text`, both from 1; columns count characters.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let at = floor_char(text, at);
    let line = text[..at].bytes().filter(|&b| b == b'\n').count() + 1;
    let column = text.get(line_start(text, at)..at).map_or(1, |before| before.chars().count() + 1);
    (line, column)
}

/// Where the line of the byte `at` starts. A byte order mark is a part of no line: nobody sees it.
fn line_start(text: &str, at: usize) -> usize {
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    text[..at].rfind('\n').map_or(mark, |newline| newline + 1)
}

/// The nearest place at or before `at` where a character starts, within the text.
fn floor_char(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&place| text.is_char_boundary(place)).unwrap_or(0)
}
