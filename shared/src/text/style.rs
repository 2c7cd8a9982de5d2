//! Colours, and the taming of texts that come from elsewhere.
//!
//! A log line, an error of a registry or a host's label may hold control characters; a terminal would obey them.

/// What a piece of text means, and so which colour it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// As the terminal has it.
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// Beside the matter.
    Faint,
    /// As it should be.
    Good,
    /// Not as it should be, and nobody must act.
    Warn,
    /// Somebody must act.
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
        }
    }
}

/// Six colours that tell neighbours apart on dark and on light screens; red stays free for errors.
const NEIGHBOUR_CODES: [&str; 6] = ["36", "33", "32", "35", "34", "96"];

/// Whether colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    /// Where not, every text stays as it is.
    pub on: bool,
}

impl Palette {
    /// The text in the colour of its tone (ECMA-48, SGR).
    pub fn paint(self, tone: Tone, text: &str) -> String {
        self.wrap(tone.code(), text)
    }

    /// The text in a colour that differs from its neighbours'.
    pub fn neighbour(self, number: usize, text: &str) -> String {
        self.wrap(NEIGHBOUR_CODES[number % NEIGHBOUR_CODES.len()], text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on && !code.is_empty() && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// One line without control characters: line ends and tabs become spaces, the rest U+FFFD.
pub fn printable(text: &str) -> String {
    let tame = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.trim_end().chars().map(tame).collect()
}

/// A container's log line for a terminal: tabs and colours (SGR sequences) stay, all else that a terminal would obey is shown as
/// U+FFFD. Ends with a reset if it has colours.
pub fn printable_log_line(text: &str) -> String {
    if !text.contains(|c: char| c.is_control() && c != '\t') {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    let mut coloured = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(sequence) = colour_sequence(rest) {
            shown.push_str(sequence);
            coloured = true;
            rest = &rest[sequence.len()..];
            continue;
        }
        shown.push(if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c });
        rest = &rest[c.len_utf8()..];
    }
    if coloured {
        shown.push_str("\x1b[0m");
    }
    shown
}

/// `ESC [ digits and semicolons m` at the beginning of `text`.
fn colour_sequence(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then(|| &text[..2 + end + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_where_wanted() {
        assert_eq!(Palette { on: true }.paint(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Palette { on: true }.paint(Tone::Plain, "x"), "x");
        assert_eq!(Palette { on: false }.paint(Tone::Bad, "x"), "x");
    }

    #[test]
    fn control_characters_are_tamed() {
        let check = |text: &str, expect: &str| assert_eq!(printable(text), expect);
        check("plain ünï", "plain ünï");
        check("two\nlines\n", "two lines");
        check("\x1b[2Jgone", "\u{fffd}[2Jgone");
    }

    #[test]
    fn log_lines_keep_their_colours_and_lose_their_power() {
        let check = |text: &str, expect: &str| assert_eq!(printable_log_line(text), expect);
        check("plain\ttext", "plain\ttext");
        check("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m\x1b[0m");
        check("\x1b[2Jclear", "\u{fffd}[2Jclear");
        check("\x1b]0;title\x07", "\u{fffd}]0;title\u{fffd}");
        check("cut\x1b[3", "cut\u{fffd}[3");
        check("back\rover", "back\u{fffd}over");
    }
}
