//! Tables: columns as narrow as their content, two spaces between them, and lines of notes under a row.
//!
//! Fitted to a width where there is one: first the columns that may shrink, then the notes. Deliberately absent: boxes and rules;
//! a table without them is read as well and cut by `awk`.

use super::{Palette, Tone, printable};

const GAP: usize = 2;
/// How far a note stands in from its row.
const NOTE_INDENT: usize = 2;
/// Narrowest that a note's text is cut to, in columns.
const NOTE_MIN: usize = 20;

/// A piece of text and what it means.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A plain one; control characters are tamed.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self { text: printable(text.as_ref()), tone: Tone::Plain }
    }

    /// One in the colour of its tone.
    pub fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { tone, ..Self::new(text) }
    }
}

/// Where a column's texts begin or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// How a column gives way when the table is wider than the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shrink {
    /// Not at all.
    Never,
    /// Loses its end, down to so many columns.
    End(usize),
    /// Loses its beginning, down to so many columns: of an image, the tag matters most.
    Start(usize),
}

/// A column: its heading, and how it is fitted in.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The heading.
    pub title: &'static str,
    /// Where its texts stand.
    pub align: Align,
    /// How it gives way.
    pub shrink: Shrink,
}

impl Column {
    /// For words.
    pub const fn left(title: &'static str) -> Self {
        Self { title, align: Align::Left, shrink: Shrink::Never }
    }

    /// For numbers.
    pub const fn right(title: &'static str) -> Self {
        Self { title, align: Align::Right, shrink: Shrink::Never }
    }

    /// The same, giving way as said.
    pub const fn shrinks(self, shrink: Shrink) -> Self {
        Self { shrink, ..self }
    }
}

#[derive(Debug)]
enum Line {
    Row(Vec<Cell>),
    /// `head  text, tail`; of these, the text is cut.
    Note {
        head: Cell,
        text: Cell,
        tail: String,
    },
}

/// Rows under headings.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    lines: Vec<Line>,
}

impl Table {
    /// An empty one.
    pub fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), lines: Vec::new() }
    }

    /// Cells beyond the columns would not be shown; missing ones are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.lines.push(Line::Row(cells.into_iter().collect()));
    }

    /// A line of its own under the last row. Heads of neighbouring notes are aligned.
    pub fn note(&mut self, head: Cell, text: Cell, tail: impl Into<String>) {
        self.lines.push(Line::Note { head, text, tail: tail.into() });
    }

    /// The text, each line ending with a newline.
    pub fn render(&self, width: Option<usize>, palette: Palette) -> String {
        let widths = self.widths(width);
        let mut text = String::new();
        let header = self.columns.iter().map(|column| Cell::toned(column.title, Tone::Strong)).collect::<Vec<_>>();
        self.push_row(&mut text, &header, &widths, palette);
        let mut head_width = 0;
        for (at, line) in self.lines.iter().enumerate() {
            match line {
                Line::Row(cells) => {
                    self.push_row(&mut text, cells, &widths, palette);
                    head_width = self.head_width(at + 1);
                }
                Line::Note { head, text: note, tail } => push_note(&mut text, head, head_width, note, tail, width, palette),
            }
        }
        text
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| columns_of(column.title)).collect();
        for line in &self.lines {
            if let Line::Row(cells) = line {
                for (width, cell) in widths.iter_mut().zip(cells) {
                    *width = (*width).max(columns_of(&cell.text));
                }
            }
        }
        let Some(limit) = limit else { return widths };
        let mut excess = (widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)).saturating_sub(limit);
        // The widest that may shrink gives first.
        let mut order: Vec<usize> = (0..widths.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(widths[at]));
        for at in order {
            let min = match self.columns[at].shrink {
                Shrink::Never => continue,
                Shrink::End(min) | Shrink::Start(min) => min.max(columns_of(self.columns[at].title)),
            };
            let cut = excess.min(widths[at].saturating_sub(min));
            widths[at] -= cut;
            excess -= cut;
        }
        widths
    }

    fn push_row(&self, text: &mut String, cells: &[Cell], widths: &[usize], palette: Palette) {
        let empty = Cell::default();
        let mut line = String::new();
        for (at, (column, &width)) in self.columns.iter().zip(widths).enumerate() {
            let cell = cells.get(at).unwrap_or(&empty);
            let shown = match column.shrink {
                Shrink::Never | Shrink::End(_) => cut_end(&cell.text, width),
                Shrink::Start(_) => cut_start(&cell.text, width),
            };
            let padding = " ".repeat(width.saturating_sub(columns_of(&shown)));
            let shown = palette.paint(cell.tone, &shown);
            let gap = if at == 0 { "" } else { "  " };
            match column.align {
                Align::Left => line.extend([gap, &shown, &padding]),
                Align::Right => line.extend([gap, &padding, &shown]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }

    /// The widest head of the notes that follow `start` without a row between them.
    fn head_width(&self, start: usize) -> usize {
        let heads = self.lines[start..].iter().map_while(|line| match line {
            Line::Note { head, .. } => Some(columns_of(&head.text)),
            Line::Row(_) => None,
        });
        heads.max().unwrap_or(0)
    }
}

fn push_note(text: &mut String, head: &Cell, head_width: usize, note: &Cell, tail: &str, width: Option<usize>, palette: Palette) {
    text.push_str(&" ".repeat(NOTE_INDENT));
    let mut used = NOTE_INDENT + columns_of(tail);
    if head_width > 0 {
        let padding = " ".repeat(head_width + GAP - columns_of(&head.text));
        text.extend([palette.paint(head.tone, &head.text), padding]);
        used += head_width + GAP;
    }
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(used).max(NOTE_MIN));
    text.extend([palette.paint(note.tone, &cut_end(&note.text, room)).as_str(), tail, "\n"]);
}

/// Columns that a text takes: names and messages here are almost always of single-width characters.
fn columns_of(text: &str) -> usize {
    text.chars().count()
}

fn cut_end(text: &str, width: usize) -> String {
    if columns_of(text) <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn cut_start(text: &str, width: usize) -> String {
    let length = columns_of(text);
    if length <= width {
        return text.to_owned();
    }
    std::iter::once('…').chain(text.chars().skip(length - width.saturating_sub(1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Palette = Palette { on: false };

    fn table() -> Table {
        let mut table = Table::new(&[
            Column::left("NAME").shrinks(Shrink::End(6)),
            Column::left("IMAGE").shrinks(Shrink::Start(8)),
            Column::right("N"),
        ]);
        table.row(["web", "shop/frontend/web:1.4.2", "3"].map(Cell::new));
        table.note(Cell::new("a"), Cell::new("a reason that goes on and on"), ", in 5s");
        table.note(Cell::new("host-b"), Cell::new("short"), "");
        table.row(["a-long-name", "x:1", "12"].map(Cell::new));
        table
    }

    #[test]
    fn unlimited_tables_cut_nothing() {
        let expect = "\
NAME         IMAGE                     N
web          shop/frontend/web:1.4.2   3
  a       a reason that goes on and on, in 5s
  host-b  short
a-long-name  x:1                      12
";
        assert_eq!(table().render(None, PLAIN), expect);
    }

    #[test]
    fn limited_tables_shrink_the_widest_first_and_keep_what_matters() {
        let expect = "\
NAME         IMAGE               N
web          …ontend/web:1.4.2   3
  a       a reason that goes …, in 5s
  host-b  short
a-long-name  x:1                12
";
        assert_eq!(table().render(Some(34), PLAIN), expect);
        // Narrower still: the image gives up to its least, then the name.
        assert!(table().render(Some(20), PLAIN).contains("web     …b:1.4.2   3\n"));
    }

    #[test]
    fn colours_do_not_move_columns() {
        let strip = |text: String| text.replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert_eq!(strip(table().render(None, Palette { on: true })), table().render(None, PLAIN));
    }
}
