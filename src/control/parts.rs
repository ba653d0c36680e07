//! What several places say whose configurations are in force together.

use std::collections::BTreeMap;

use crate::config::Sources;

/// What the places say whose configurations together are in force.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Kept only where there are control planes besides.
    pub(super) files: Option<Sources>,
    /// By name.
    pub(super) remotes: BTreeMap<String, Sources>,
}

impl Parts {
    /// What is compiled when files say `files`.
    pub(super) fn with_files(&self, files: &Sources) -> Sources {
        if self.remotes.is_empty() { files.clone() } else { files.and(self.remotes.values()) }
    }

    /// Keeps what files say, for when a control plane sends something.
    pub(super) fn keep_files(&mut self, files: &Sources) {
        if !self.remotes.is_empty() {
            self.files = Some(files.clone());
        }
    }

    /// What is compiled when the control plane `name` says `sources`.
    pub(super) fn with_remote(&self, name: &str, sources: &Sources) -> Sources {
        let others = self.remotes.iter().filter(|(other, _)| *other != name).map(|(_, other)| other);
        let nothing = Sources::in_memory::<String, String>([], []);
        self.files.as_ref().unwrap_or(&nothing).and(others.chain([sources]))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::config::Options;
    use crate::control::{Published, Publisher};
    use crate::limiter::Limiter;
    use crate::policy::Policy;
    use crate::store::MemoryStore;

    type Limits = Arc<Limiter<MemoryStore, ManualClock>>;

    fn publisher() -> (Limits, Publisher<MemoryStore, ManualClock>) {
        let store = MemoryStore::holding(1000, 1 << 20);
        let limiter = Arc::new(Limiter::new(Policy::default(), store, ManualClock::default()));
        (Arc::clone(&limiter), Publisher::new(limiter))
    }

    fn domain(name: &str) -> Sources {
        let text = format!("domain: {name}\ndescriptors: [{{key: k}}]");
        Sources::in_memory([("d.yaml".to_owned(), text)], [])
    }

    fn wrong() -> Sources {
        Sources::in_memory([("d.yaml", "domain: d\nlimits: 1")], [])
    }

    #[test]
    fn what_one_place_sends_replaces_what_it_sent_and_nothing_else() {
        let (limiter, publisher) = publisher();
        publisher.begin_remotes(["one", "other"], Some(domain("files")));
        let of = |name: &str| {
            let text = format!("domain: {name}\ndescriptors: [{{key: k}}]");
            Sources::in_memory([(format!("xds:{name}"), text)], [])
        };
        let send = |place: &str, sources: &Sources| {
            let answer = publisher.publish_remote(place, sources, Options::default(), |_| ());
            matches!(answer, Published::Applied { .. })
        };
        let has = |names: &[&str]| {
            names.iter().all(|name| limiter.engine.policy().domain(name.as_bytes()).is_some())
        };
        assert!(send("one", &of("a")) && send("other", &of("b")));
        assert!(has(&["files", "a", "b"]));
        let answer = publisher.publish(publisher.version(), &domain("new"), Options::default());
        let Published::Applied { names, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(names, ["d.yaml"], "what is watched as files is none of control planes");
        assert!(has(&["new", "a", "b"]) && !has(&["files"]));

        assert!(!send("one", &wrong()));
        publisher.publish(publisher.version(), &wrong(), Options::default());
        assert!(has(&["new", "a", "b"]));
        assert!(send("other", &of("c")));
        assert!(has(&["new", "a", "c"]) && !has(&["b"]));
        let status = publisher.latest().status();
        assert_eq!((status.stale, status.refusal.len()), (true, 2), "one and the files are refused");
        assert!(send("one", &Sources::in_memory::<String, String>([], [])));
        assert_eq!(publisher.latest().status().refusal.len(), 1);
        publisher.publish(publisher.version(), &domain("new"), Options::default());
        assert!(!publisher.latest().status().stale);
        assert!(has(&["new", "c"]) && !has(&["a"]));
    }

    #[test]
    fn an_older_reading_of_files_is_no_older_for_what_a_control_plane_sent_meanwhile() {
        let (_, publisher) = publisher();
        publisher.begin_remotes(["one"], None);
        let read = publisher.version();
        publisher.publish_remote(
            "one",
            &Sources::in_memory::<String, String>([], []),
            Options::default(),
            |_| (),
        );
        let answer = publisher.publish(read, &domain("files"), Options::default());
        assert!(matches!(answer, Published::Applied { .. }), "{answer:?}");
    }
}
