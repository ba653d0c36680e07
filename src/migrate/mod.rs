//! The limits of other rate limit services as policies of ours.
//!
//! A directory of envoyproxy/ratelimit needs no change, and is reported on; a limits file of Limitador is written anew.

mod condition;
mod limit;
mod limitador;
mod migration;
mod ratelimit;
mod tree;
mod write;

use std::path::Path;

pub use migration::Migration;

use crate::config::{Diagnostic, Options, read_text};
use crate::yaml::{Kind, Tree};

/// What becomes of the limits at `from`: a directory or a file of envoyproxy/ratelimit, or a limits file of Limitador, whose
/// outermost value is a list.
pub fn migrate(from: &Path, options: Options) -> Migration {
    if from.is_dir() {
        return ratelimit::migrate(from, options);
    }
    let name = from.display().to_string();
    let text = match read_text(from) {
        Ok(text) => text,
        Err(error) => {
            let found = vec![Diagnostic::error(format!("cannot read `{name}`: {error}"))];
            return Migration { found, ..Migration::default() };
        }
    };
    let is_list = Tree::parse(&text).is_ok_and(|tree| {
        tree.documents().next().is_some_and(|node| matches!(node.kind(), Kind::Sequence(_)))
    });
    if is_list { limitador::migrate(&name, text) } else { ratelimit::migrate(from, options) }
}
