//! A store on a disk, whose counters all are kept.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use spillway::algorithm::{Charge, Durability, Mode, Outcomes};
use spillway::model::Timestamp;
use spillway::store::{
    Answers, DiskStore, MemoryStore, Record, RecordKind, Session, Statistics, Store, StoreError,
};
use tempfile::TempDir;
use tokio::time::Instant;

/// Counters of one durability in a new directory.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    store: DiskStore,
    durability: Durability,
    /// Removed with the last of them.
    _directory: Arc<TempDir>,
}

impl Disk {
    pub(super) fn with(durability: Durability) -> Self {
        let directory = directory();
        let store = DiskStore::open(directory.path(), MemoryStore::default(), 1_000).unwrap();
        Self { store, durability, _directory: Arc::new(directory) }
    }
}

/// A new directory, in memory if there is such a file system: the laws are not about the disk's speed.
pub(super) fn directory() -> TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { TempDir::new_in(shared).unwrap() } else { TempDir::new().unwrap() }
}

impl Store for Disk {
    type Session = Self;

    fn session(&self) -> Self {
        self.clone()
    }

    fn statistics(&self) -> Statistics {
        self.store.statistics()
    }

    fn sweep(&self, now: Timestamp) -> impl Iterator<Item = ()> + Send {
        self.store.sweep(now)
    }
}

impl Session for Disk {
    const ANSWERS: Answers = <DiskStore as Session>::ANSWERS;

    fn apply_now(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
        self.store.apply_now(mode, &kept(charges, self.durability), now)
    }

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Outcomes, StoreError> {
        // The time of the laws stands still while a thread is busy for them, as the disk's is.
        let (done, busy) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || busy.recv_timeout(Duration::from_secs(10)));
        let settled = self.store.apply(mode, &kept(charges, self.durability), now, deadline).await;
        drop(done);
        settled
    }
}

fn kept(charges: &[Charge], durability: Durability) -> Vec<Charge> {
    charges.iter().map(|charge| Charge { durability, ..*charge }).collect()
}

mod cli {
    //! `spillway store`

    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;
    use spillway::algorithm::{Algorithm, Share};
    use spillway::model::{CellKey, Hits};

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn spillway(args: &[&str], stdin: &str) -> (Option<i32>, String, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_spillway"))
            .arg("store")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    fn used(store: &DiskStore, hits: Hits) -> u64 {
        let share = Share {
            algorithm: Algorithm::aligned(Duration::from_secs(86_400_000)),
            limit: 100,
            hits,
            count_denied: false,
            settles: false,
            enforced: true,
            stage: 0,
            cell: 0,
        };
        let charge = [Charge { key: CellKey { high: 1, low: 2 }, durability: Durability::Exact, share }];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let deadline = runtime.block_on(async { Instant::now() + Duration::from_secs(10) });
        let outcomes = runtime.block_on(store.apply(Mode::Each, &charge, START, deadline)).unwrap();
        outcomes[0].unwrap().used
    }

    /// `ulimit -f`, as services have it.
    #[test]
    fn where_files_may_not_grow_a_sentence_says_so_and_nothing_is_left_behind() {
        let directory = directory();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let store = DiskStore::open(at("first").as_ref(), MemoryStore::default(), 1_000).unwrap();
        store.close().unwrap();
        let program = crate::support::command(&["store", "backup", &at("first"), &at("second")]);
        let mut limited = std::process::Command::new("prlimit");
        let limited = limited.arg("--fsize=10000").arg(program.get_program()).args(program.get_args());
        let output = limited.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code().is_some_and(|code| code > 0), "{:?}", output.status);
        assert!(said.starts_with("error: the counter store `") && said.contains("File too large"), "{said}");
        assert_eq!(std::fs::read_dir(at("second")).unwrap().count(), 0);
    }

    #[test]
    fn counters_are_inspected_copied_exported_and_imported_while_no_server_has_them() {
        let directory = directory();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let open = |name| DiskStore::open(at(name).as_ref(), MemoryStore::default(), 1_000).unwrap();
        let store = open("first");
        let value = Some(b"{\"attribute\":\"tier\",\"tier\":2}".to_vec());
        let (scope, id) = ("d".to_owned(), "a".to_owned());
        let tier = Record { kind: RecordKind::ReachedTier, scope, id, value };
        store.records().unwrap().apply(vec![tier.clone()]).unwrap();
        let secret = store.secret();
        assert_eq!(used(&store, Hits::charge(42)), 42);
        let (code, _, said) = spillway(&["inspect", &format!("disk:{}", at("first"))], "");
        assert_eq!(code, Some(1));
        assert!(said.contains("is open in another process. Stop that process first"), "{said}");
        store.close().unwrap();

        let (code, told, said) = spillway(&["inspect", &at("first")], "");
        assert_eq!((code, said.as_str()), (Some(0), ""));
        let expected =
            "1 counters, of which 0 have ended and 0 cannot be read\n1 subjects whose tiers are remembered\n";
        assert!(told.ends_with(expected), "{told}");
        assert_eq!(spillway(&["compact", &at("first")], "").0, Some(0));
        assert_eq!(spillway(&["backup", &at("first"), &at("second")], "").0, Some(0));
        let (code, lines, _) = spillway(&["export", &at("second")], "");
        assert_eq!((code, lines.lines().count()), (Some(0), 4));
        // Cut off at the end of a line, it is no export, or one of an earlier version.
        let all: Vec<&str> = lines.lines().collect();
        let without = |left_out: usize| [&all[..left_out], &all[left_out + 1..]].concat().join("\n") + "\n";
        let (code, _, said) = spillway(&["import", &at("cut")], &without(1));
        let expected = "error: standard input, line 3: the export had 1 counters and 1 records, and here are 0 and 1: it is not whole\n";
        assert_eq!((code, said.as_str()), (Some(1), expected));
        let (code, told, said) = spillway(&["import", &at("earlier")], &without(3));
        assert!(
            code == Some(0) && told.ends_with("1 counters and 1 records of subjects and changes\n"),
            "{told}"
        );
        assert!(said.starts_with("warning: the export does not end with how many lines it has."), "{said}");
        let twice = [all[0], all[1], all[1]].join("\n");
        let (_, told, _) = spillway(&["import", &at("twice")], &twice);
        assert!(told.ends_with(": 1 counters\n"), "{told}");
        assert_eq!(spillway(&["import", &at("third")], &lines).0, Some(0));
        for name in ["first", "second", "third"] {
            let store = open(name);
            assert_eq!((used(&store, Hits::Look), store.secret()), (42, secret), "{name}");
            let mut known = Vec::new();
            let records = store.records().unwrap();
            let visit = &mut |id: &str, value: &[u8]| known.push((id.to_owned(), Some(value.to_owned())));
            records.each(RecordKind::ReachedTier, "d", visit).unwrap();
            assert_eq!(known, [(tier.id.clone(), tier.value.clone())], "{name}");
            store.close().unwrap();
        }

        let (code, _, said) = spillway(&["import", &at("third")], &lines);
        assert_eq!(code, Some(1));
        let expected = format!(
            "there is a counter store in `{}` already. Name a directory without one, or move",
            at("third")
        );
        assert!(said.contains(&expected), "{said}");
        let (code, _, said) = spillway(&["inspect", &format!("{}/counters.redb", at("third"))], "");
        let expected = format!(
            "is a file, and a store is named by its directory, as in `spillway store inspect {}`",
            at("third")
        );
        assert!(code == Some(1) && said.contains(&expected), "{said}");
        let (code, _, said) = spillway(&["inspect", "redis://:hidden@host"], "");
        assert!(code == Some(1) && said.contains("`redis://…` is a server"), "{said}");
        assert!(!said.contains("hidden"), "{said}");
        let (code, _, said) = spillway(&["inspect", &at("nowhere")], "");
        assert_eq!(code, Some(1));
        assert!(said.contains("nowhere/counters.redb` cannot be opened: No such file"), "{said}");
        let (code, _, said) =
            spillway(&["import", &at("fourth")], &lines.replace("\"counter\":\"01", "\"counter\":\"07"));
        assert_eq!(code, Some(1));
        assert_eq!(
            said,
            "error: standard input, line 2: the counter: it is written in version 7 of the format, and this program reads \
             version 1\n"
        );
    }
}
