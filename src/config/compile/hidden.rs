//! Descriptors that no request can reach, because one that is looked at before them takes all that they would take.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Compiler, Severity};
use crate::config::source::Source;
use crate::policy::{Node, Scratch};
use crate::yaml::Span;

impl Compiler {
    /// Warns of each descriptor that another one hides, at its place in whichever file it is.
    pub(super) fn finish_hidden(&mut self, sources: &[Arc<Source>]) {
        let sources: HashMap<&str, &Source> =
            sources.iter().map(|source| (&*source.file, &**source)).collect();
        let mut hidden = Vec::new();
        let mut scratch = Scratch::default();
        for domain in self.policy.domains() {
            domain.root.hidden(&mut scratch, &mut |node: &Node, by: &Node| {
                let message = format!(
                    "descriptor `{}` is never reached: `{}` at {} takes all of its values",
                    node.label, by.label, by.place
                );
                let hint = if node.label.ends_with('*') || node.label.contains('=') {
                    "wildcards are tried in the order they are listed; list the narrower one first"
                } else {
                    "wildcards are tried before credentials and before a key alone; give the wildcard less to take"
                };
                let span = Span { line: node.place.line, column: node.place.column, length: 1 };
                if let Some(source) = sources.get(&*node.place.file) {
                    hidden.push(source.diagnose(Severity::Warning, span, message, Some(hint.to_owned())));
                }
            });
        }
        for diagnostic in hidden {
            self.add(diagnostic);
        }
    }
}
