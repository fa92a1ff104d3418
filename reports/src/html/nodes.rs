//! Node by node: kernel, runtime version and result.

use askama::Template;

use crate::nodes::{Row, rows};
use crate::view::View;

#[derive(Template)]
#[template(path = "nodes.html")]
struct Body {
    rows: Vec<Row>,
}

/// Empty when the run was not merged over nodes.
pub(super) fn body(view: &View<'_>) -> String {
    let rows = rows(view.run);
    if rows.is_empty() { String::new() } else { Body { rows }.render().unwrap_or_default() }
}
