//! Which policy is in force, whatever comes in which order.

use super::*;
use crate::clock::ManualClock;
use crate::control::people::KeptChanges;
use crate::store::MemoryStore;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread;

fn publisher() -> Publisher<MemoryStore, ManualClock> {
    let clock = ManualClock::at(Timestamp::from_nanos(1_000_000_000));
    let policy = config::compile(&domain("start"), Options::default()).unwrap().policy;
    Publisher::new(Arc::new(Limiter::new(policy, MemoryStore::holding(1000, 1 << 20), clock)))
}

fn domain(name: &str) -> Sources {
    let text = format!("domain: {name}\ndescriptors: [{{key: k}}]");
    Sources::in_memory([("d.yaml".to_owned(), text)], [])
}

fn wrong() -> Sources {
    Sources::in_memory([("d.yaml", "domain: d\nlimits: 1")], [])
}

fn in_force(publisher: &Publisher<MemoryStore, ManualClock>, name: &str) -> bool {
    publisher.limiter.engine.policy().domain(name.as_bytes()).is_some()
}

#[test]
fn an_older_one_that_is_compiled_later_never_replaces_a_newer_one() {
    let publisher = publisher();
    let (older, newer) = (publisher.version(), publisher.version());
    let answer = publisher.publish(newer, &domain("newer"), Options::default());
    assert!(matches!(answer, Published::Applied { generation: 2, .. }), "{answer:?}");
    let answer = publisher.publish(older, &domain("older"), Options::default());
    assert!(matches!(answer, Published::Superseded), "{answer:?}");
    assert!(in_force(&publisher, "newer"));
    let answer = publisher.publish(older, &wrong(), Options::default());
    assert!(matches!(answer, Published::Rejected(_)), "{answer:?}");
    let status = publisher.latest().status();
    assert_eq!((status.generation, status.stale), (2, false), "an old mistake is no news");
}

#[test]
fn what_is_refused_leaves_in_force_what_is_and_the_status_says_so() {
    let publisher = publisher();
    let latest = publisher.latest();
    let begun = latest.status().since;
    publisher.limiter.clock.advance(Duration::from_secs(5));
    let Published::Rejected(reported) = publisher.publish(publisher.version(), &wrong(), Options::default())
    else {
        panic!("it has a mistake")
    };
    let status = latest.status();
    assert_eq!((status.generation, status.since, status.stale), (1, begun, true));
    assert_eq!(*status.refusal, *reported);
    assert!(in_force(&publisher, "start"));

    publisher.publish(publisher.version(), &domain("next"), Options::default());
    let status = latest.status();
    assert_eq!((status.generation, status.stale, status.refusal.len()), (2, false, 0));
    assert_eq!(status.since, begun.plus(Duration::from_secs(5)));
    assert!(in_force(&publisher, "next"));

    publisher.publish_if_right(publisher.version(), &wrong(), Options::default());
    assert!(!latest.status().stale, "half of one is no refusal");
}

#[test]
fn a_policy_that_is_replaced_is_freed_when_no_request_sees_it_and_not_by_the_request() {
    let publisher = publisher();
    let seen = publisher.limiter.engine.policy().clone();
    let policy = Arc::downgrade(&seen);
    publisher.publish(publisher.version(), &domain("next"), Options::default());
    publisher.free_replaced();
    assert!(Arc::ptr_eq(&seen, &policy.upgrade().unwrap()), "a request still sees it");
    // What the request drops is not the last of it.
    drop(seen);
    assert!(policy.upgrade().is_some());
    publisher.free_replaced();
    assert!(policy.upgrade().is_none());

    // As a rule nothing sees it any more when it is replaced.
    let policy = Arc::downgrade(&publisher.limiter.engine.policy());
    publisher.publish(publisher.version(), &domain("start"), Options::default());
    // That is done in the background, where there is one place.
    let begun = tokio::time::Instant::now();
    while !publisher.begin_to_free_replaced() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is never freed");
        std::thread::yield_now();
    }
    assert!(policy.upgrade().is_none());
}

fn shop(by_files: &str) -> Sources {
    let policy = "{domain: shop, subjects: s.yaml, descriptors: [{key: k, subject: k, rate_limit: {per: 1m, \
                  requests_per_unit: {attribute: n}}}]}";
    Sources::in_memory([("d.yaml", policy)], [("s.yaml", by_files)])
}

fn amendment(id: &str, change: Option<serde_json::Value>) -> Amendment {
    let change = change.map(|words| serde_json::from_value(words).unwrap());
    Amendment { domain: "shop".into(), id: id.into(), change }
}

#[test]
fn a_change_of_a_subject_is_of_the_policy_in_force_and_counts_go_on_under_their_numbers() {
    let publisher = publisher();
    let n = |id: &str| {
        let policy = publisher.limiter.engine.policy();
        let directory = policy.domain(b"shop").unwrap().directory.clone().unwrap();
        directory.subject(id).and_then(|subject| subject.attribute("n")?.as_number())
    };
    let files = "subjects: [{id: a, attributes: {n: 1}}, {id: b, attributes: {n: 2}}]";
    publisher.publish(publisher.version(), &shop(files), Options::default());
    let catalog = Arc::clone(publisher.limiter.engine.policy().catalog());
    publisher.publish(publisher.version(), &wrong(), Options::default());

    let set = |n: u32| Some(serde_json::json!({"attributes": {"n": n}}));
    assert_eq!(publisher.change_subject(&amendment("a", set(5))), Ok(3));
    assert_eq!(publisher.change_subject(&amendment("b", set(6))), Ok(4));
    assert_eq!((n("a"), n("b")), (Some(5), Some(6)));
    assert!(publisher.latest().status().stale, "the newest files still wait for somebody");
    assert!(Arc::ptr_eq(&catalog, publisher.limiter.engine.policy().catalog()));
    assert_eq!(publisher.change_subject(&amendment("a", None)), Ok(5));
    assert_eq!((n("a"), n("b")), (Some(1), Some(6)));

    // What files say next is changed in the same way.
    let files = "subjects: [{id: a, attributes: {n: 3}}, {id: b, attributes: {n: 4}}]";
    publisher.publish(publisher.version(), &shop(files), Options::default());
    assert_eq!((n("a"), n("b")), (Some(3), Some(6)));
    assert_eq!(publisher.change_subject(&amendment("b", None)), Ok(7));
    assert_eq!((n("a"), n("b")), (Some(3), Some(4)));
}

/// A disk that stands still until it is told to go on, and then says that it was too late.
#[derive(Debug)]
struct Standing {
    kept: Recorded,
    begun: mpsc::SyncSender<()>,
    goes_on: Mutex<mpsc::Receiver<()>>,
    stands_still: Arc<AtomicBool>,
}

impl SubjectChanges for Standing {
    fn all(&self, domain: &str) -> Result<KeptChanges, String> {
        self.kept.all(domain)
    }

    fn put(&self, domain: &str, id: &str, change: Option<&SubjectChange>) -> Result<(), StoreError> {
        self.begun.send(()).unwrap();
        let answer = self.goes_on.lock().unwrap().recv();
        self.kept.put(domain, id, change)?;
        let in_doubt = || StoreError::InDoubt { store: "disk".into(), reason: "it stands still".into() };
        answer.map_err(|_| in_doubt())
    }

    fn settle(&self) -> Result<(), StoreError> {
        let refused = || StoreError::Refused { reason: "it stands still".into() };
        if self.stands_still.load(Ordering::Relaxed) { Err(refused()) } else { Ok(()) }
    }

    fn is_durable(&self) -> bool {
        true
    }
}

#[test]
fn files_come_into_force_while_a_change_waits_for_the_disk_and_one_in_doubt_comes_with_the_next() {
    let (begun, has_begun) = mpsc::sync_channel(9);
    let (go_on, goes_on) = mpsc::sync_channel(9);
    let (goes_on, stands_still) = (Mutex::new(goes_on), Arc::new(AtomicBool::new(false)));
    let mut publisher = publisher();
    publisher.changes = Box::new(Standing {
        kept: Recorded::of(&publisher.limiter.store),
        begun,
        goes_on,
        stands_still: Arc::clone(&stands_still),
    });
    publisher.publish(publisher.version(), &shop("subjects: [{id: a}]"), Options::default());
    let n = |attribute: &str| {
        let policy = publisher.limiter.engine.policy();
        let directory = policy.domain(b"shop").unwrap().directory.clone().unwrap();
        directory.subject("a").unwrap().attribute(attribute)?.as_number()
    };
    let set = |name: &str, n: u32| amendment("a", Some(serde_json::json!({"attributes": {name: n}})));
    thread::scope(|scope| {
        let changed = scope.spawn(|| publisher.change_subject(&set("n", 5)));
        has_begun.recv().unwrap();
        let files = "subjects: [{id: a, attributes: {m: 2}}]";
        let answer = publisher.publish(publisher.version(), &shop(files), Options::default());
        assert!(matches!(answer, Published::Applied { generation: 3, .. }), "{answer:?}");
        assert_eq!((n("m"), n("n")), (Some(2), None));
        go_on.send(()).unwrap();
        assert_eq!(changed.join().unwrap(), Ok(4));
    });
    assert_eq!((n("m"), n("n")), (Some(2), Some(5)), "the change is of the files that came meanwhile");

    drop(go_on);
    let in_doubt = publisher.change_subject(&set("n", 6)).unwrap_err();
    assert_eq!(
        in_doubt.to_string(),
        "whether the counter store `disk` made the change is not known: it stands still. If it was made, it comes into force \
         when the store answers again: look at the subject then"
    );
    assert!(publisher.is_in_doubt());
    assert_eq!(n("n"), Some(5));
    // As long as it stands still, what is read may be what was before; and nothing is changed on top of that.
    stands_still.store(true, Ordering::Relaxed);
    publisher.settle_doubt().unwrap_err();
    let refused = publisher.change_subject(&amendment("nobody", None)).unwrap_err();
    assert!(refused.to_string().ends_with("it stands still"), "{refused}");
    assert_eq!((n("n"), publisher.is_in_doubt()), (Some(5), true));
    // Nobody has to change anything for it to come into force.
    stands_still.store(false, Ordering::Relaxed);
    publisher.settle_doubt().unwrap();
    assert_eq!((n("n"), publisher.is_in_doubt()), (Some(6), false));
}

/// So many changes that there is no room for another one.
#[derive(Debug)]
struct Full;

impl SubjectChanges for Full {
    fn all(&self, _: &str) -> Result<KeptChanges, String> {
        let change = SubjectChange { enabled: Some(true), ..SubjectChange::default() };
        let changes = (0..100_000).map(|n| (format!("s{n}"), change.clone())).collect();
        Ok(KeptChanges { changes, bytes: 2_000_000 })
    }

    fn put(&self, _: &str, _: &str, _: Option<&SubjectChange>) -> Result<(), StoreError> {
        Ok(())
    }

    fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn is_durable(&self) -> bool {
        false
    }
}

#[test]
fn changes_have_a_bound_and_who_is_to_be_kept_out_is_kept_out_beyond_it() {
    let mut publisher = publisher();
    let files = "subjects: [{id: a, credentials: [{kind: k, value: v}]}, {id: s5}]";
    publisher.publish(publisher.version(), &shop(files), Options::default());
    publisher.changes = Box::new(Full);
    let asked = |id: &str, change: serde_json::Value| publisher.change_subject(&amendment(id, Some(change)));
    let refused = asked("a", serde_json::json!({"attributes": {"n": 1}})).unwrap_err();
    assert_eq!(refused, NotChanged::TooMany);
    assert!(
        refused.to_string().starts_with("100000 subjects of a domain can be changed here, in 64 MiB, and")
    );
    assert_eq!(asked("new", serde_json::json!({"created": true})), Err(NotChanged::TooMany));
    asked("s5", serde_json::json!({"attributes": {"n": 1}})).unwrap();
    let sha256 = crate::subjects::credential_sha256(b"v");
    let revoked = serde_json::json!({"credentials": [{"kind": "k", "sha256": sha256, "enabled": false}]});
    asked("a", revoked).unwrap();
    asked("a", serde_json::json!({"enabled": false})).unwrap();
    assert!(publisher.change_subject(&amendment("s5", None)).is_ok());
}

#[test]
fn of_an_older_one_that_is_right_and_a_newer_one_that_is_not_the_status_tells_both() {
    let publisher = publisher();
    let (older, newer) = (publisher.version(), publisher.version());
    publisher.publish(newer, &wrong(), Options::default());
    publisher.publish(older, &domain("older"), Options::default());
    let status = publisher.latest().status();
    assert_eq!((status.generation, status.stale), (2, true));
    assert!(in_force(&publisher, "older"));
}
