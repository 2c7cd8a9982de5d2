//! The built `coordctl` against a coordinator that answers as each test wants: everything that a person can meet.

mod bodies;
mod documents;
mod fake;
mod fleet;
mod logs;
mod pipelines;
mod program;
mod trouble;
mod waiting;
