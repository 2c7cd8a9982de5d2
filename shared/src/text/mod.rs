//! Texts for people, as both command lines show them: tables, colours, ages, mistakes in a configuration.
//!
//! Deliberately absent: writing them anywhere, and knowing what a terminal is; whoever prints says whether colours and a width apply.

mod age;
mod mistake;
pub mod nested;
mod style;
mod table;

pub use age::{age, ago, until};
pub use mistake::toml_mistake;
pub use style::{Palette, Tone, printable, printable_log_line};
pub use table::{Align, Cell, Column, Shrink, Table};
