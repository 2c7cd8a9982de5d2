//! The image centre's place in the coordinator: who may use it, what it keeps, how documents and hosts find it.

pub mod access;
pub mod images;
pub mod keeper;
pub mod roots;
pub mod view;
