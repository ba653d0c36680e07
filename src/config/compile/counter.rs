//! `counter`: limits that share one by its name.

use super::{Compiler, Document, Fields, Severity};
use crate::config::Diagnostic;
use crate::policy::{CountBy, Place, Window};

/// The limits that share one counter.
pub(super) struct Shared {
    /// How they count.
    counts: String,
    /// Where the first one is.
    first: Place,
    /// To be said if there is only that, and it is a slip.
    alone: Option<Diagnostic>,
}

impl Document<'_, '_> {
    /// Limits that share a counter must count alike, and by something that is the same for all of them.
    pub(super) fn shared_counter(
        &mut self,
        fields: &Fields<'_>,
        counter: Option<&str>,
        window: &Window,
        count_by: &[CountBy],
    ) {
        let (Some(counter), Some(node)) = (counter, fields.get("counter")) else { return };
        if count_by.contains(&CountBy::Entries) {
            let hint = "say `count_by:` the entries that they have in common, or a subject";
            self.error(node.span(), "limits that count by all their entries share no counter", Some(hint));
        }
        let counts = format!("{} {}", window.tag(), super::limit::tag(count_by));
        let key = (self.domain.clone(), counter.to_owned());
        if let Some(shared) = self.compiler.counters.get_mut(&key) {
            shared.alone = None;
            if shared.counts != counts {
                let message = format!("the counter `{counter}` counts otherwise at {}", shared.first);
                let hint = "limits that share a counter have one window and one `count_by`";
                self.error(node.span(), &message, Some(hint));
            }
            return;
        }
        let message = format!("no other limit has the counter `{counter}`");
        let alone = Some(self.source.diagnose(Severity::Warning, node.span(), message, None));
        let first = self.source.place(node.span());
        self.compiler.counters.insert(key, Shared { counts, first, alone });
    }
}

impl Compiler {
    /// Warns of a counter that only one limit has, beside one with a name like it: each would count for itself.
    pub(super) fn finish_counters(&mut self) {
        /// Names are compared with each other.
        const MOST: usize = 1000;
        let counters = std::mem::take(&mut self.counters);
        let mut names: Vec<_> = counters.into_iter().collect();
        names.sort_by(|(_, a), (_, b)| {
            (&a.first.file, a.first.line, a.first.column).cmp(&(&b.first.file, b.first.line, b.first.column))
        });
        if names.len() > MOST {
            return;
        }
        for (at, ((domain, name), shared)) in names.iter().enumerate() {
            let Some(alone) = &shared.alone else { continue };
            // Of two that stand alone the second is the slip.
            let others = names.iter().enumerate().filter(|(other, ((of, _), shared))| {
                of == domain && (*other < at || shared.alone.is_none() && *other != at)
            });
            let likely =
                super::subjects::slip(name, &others.map(|(_, ((_, name), _))| name).collect::<Vec<_>>());
            if let Some(hint) = likely {
                self.add(alone.clone().hint(Some(hint)));
            }
        }
    }
}
