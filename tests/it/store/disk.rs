//! A store on a disk, whose counters all are kept.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use spillway::algorithm::{Charge, Durability, Mode, Outcomes};
use spillway::model::Timestamp;
use spillway::store::{Answers, DiskStore, MemoryStore, Session, Statistics, Store, StoreError};
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
    use spillway::clock::SystemClock;
    use spillway::config::{Options, load};
    use spillway::limiter::Limiter;
    use spillway::model::{CellKey, Descriptor, Hits, Request};
    use spillway::policy::Keyer;

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

    #[test]
    fn counters_are_inspected_copied_exported_and_imported_while_no_server_has_them() {
        let directory = directory();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let open = |name| DiskStore::open(at(name).as_ref(), MemoryStore::default(), 1_000).unwrap();
        let store = open("first");
        let secret = store.secret();
        assert_eq!(used(&store, Hits::charge(42)), 42);
        let (code, _, said) = spillway(&["inspect", &format!("disk:{}", at("first"))], "");
        assert_eq!(code, Some(1));
        assert!(said.contains("is open in another process. Stop that process first"), "{said}");
        store.close().unwrap();

        let (code, told, said) = spillway(&["inspect", &at("first")], "");
        assert_eq!((code, said.as_str()), (Some(0), ""));
        assert!(told.ends_with("1 counters, of which 0 have ended and 0 cannot be read\n"), "{told}");
        assert_eq!(spillway(&["compact", &at("first")], "").0, Some(0));
        assert_eq!(spillway(&["backup", &at("first"), &at("second")], "").0, Some(0));
        let (code, lines, _) = spillway(&["export", &at("second")], "");
        assert_eq!((code, lines.lines().count()), (Some(0), 2));
        assert_eq!(spillway(&["import", &at("third")], &lines).0, Some(0));
        for name in ["first", "second", "third"] {
            let store = open(name);
            assert_eq!((used(&store, Hits::Look), store.secret()), (42, secret), "{name}");
            store.close().unwrap();
        }

        let (code, _, said) = spillway(&["import", &at("third")], &lines);
        assert_eq!(code, Some(1));
        assert!(
            said.contains("third/counters.redb` already, and it is left as it is. Name another directory"),
            "{said}"
        );
        let (code, _, said) = spillway(&["inspect", &format!("{}/counters.redb", at("third"))], "");
        assert_eq!(code, Some(1));
        assert!(said.contains(&format!("is a file. Name its directory: `{}`", at("third"))), "{said}");
        let (code, _, said) = spillway(&["inspect", "redis://u:hidden@localhost"], "");
        assert_eq!(
            (code, said.as_str()),
            (
                Some(1),
                "error: `redis://…` is a server, which this command cannot look into. Name the directory of a store on a disk, as in \
                 `disk:/var/lib/spillway`\n"
            )
        );
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

    #[test]
    fn the_count_of_one_customer_is_told_and_begun_anew() {
        let directory = directory();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let text = "domain: shop\ndescriptors:\n- key: plan\n  descriptors:\n  - key: customer\n    rate_limits:\n    - {name: monthly, \
                    requests_per_unit: 50, per: calendar_month}\n    - {name: burst, requests_per_unit: 100, per: 1s}\n";
        std::fs::write(at("shop.yaml"), text).unwrap();
        let store = DiskStore::open(at("store").as_ref(), MemoryStore::default(), 1_000).unwrap();
        let keyer = Keyer::from_secret(store.secret());
        let policy = load(&[at("shop.yaml")], Options::default()).unwrap().policy;
        let limiter = Arc::new(Limiter::with_keys(policy, keyer, store.clone(), SystemClock::new()));
        let worker = limiter.worker();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for (customer, hits) in [("acme", 42), ("other", 7)] {
            let entries = [("plan", "pro"), ("customer", customer)];
            let entries: Vec<_> = entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            let descriptors = vec![Descriptor::of_text(&entries, Hits::charge(hits))];
            let request = Request { domain: b"shop", descriptors };
            let policy = limiter.engine.policy();
            let deadline = runtime.block_on(async { Instant::now() + Duration::from_secs(10) });
            runtime.block_on(worker.decide(worker.scratch(), &policy, &request, Some(deadline))).unwrap();
        }
        store.close().unwrap();

        let policy = at("shop.yaml");
        let run = |what: &str, customer: &str| {
            let descriptor = format!("plan=pro,customer={customer}");
            spillway(&[what, &at("store"), "--config", &policy, "--domain", "shop", &descriptor], "")
        };
        let (code, told, said) = run("inspect", "acme");
        assert_eq!((code, said.as_str()), (Some(0), ""));
        assert!(told.starts_with("plan=pro, customer=acme\n"), "{told}");
        assert!(told.contains("used 42 of 50, 8 left, resets in "), "{told}");
        assert!(told.ends_with("are counted in the memory of their server, and not here\n"), "{told}");
        let (code, told, _) = run("inspect", "nobody");
        assert_eq!(code, Some(0));
        assert!(told.contains("\nthe store has no counter of this request\n"), "{told}");

        let (code, told, _) = run("reset", "acme");
        assert_eq!(code, Some(0));
        assert!(told.contains("used 42 of 50"), "what there was is told: {told}");
        assert!(
            told.contains("\n1 counter is reset: the next request is counted as the first one\n"),
            "{told}"
        );
        assert!(run("inspect", "acme").1.contains("used 0 of 50, 50 left"));
        assert!(run("inspect", "other").1.contains("used 7 of 50, 43 left"));

        let (code, _, said) = spillway(&["reset", &at("store"), "--config", &policy], "");
        assert_eq!(code, Some(1));
        assert!(
            said.starts_with("error: the request whose counters are meant is missing, as in `--domain"),
            "{said}"
        );
        let (_, _, said) =
            spillway(&["reset", &at("store"), "--domain", "shp", "a=b", "--config", &policy], "");
        assert!(said.contains("no domain `shp` is configured; did you mean `shop`?"), "{said}");
    }
}
