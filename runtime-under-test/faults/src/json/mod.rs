//! JSON as this crate needs it: a parser that notices repeated names, a path language, edits, named sets.

pub mod edit;
mod edit_apply;
mod edit_parse;
pub mod path;
pub mod sets;
pub mod strict;
