//! A real cluster of three: counters of one client stay together, those of one request that do not are given back where another one
//! refuses, and servers that are killed or have left are left.

use std::future::Future;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use spillway::algorithm::{Algorithm, Charge, Mode, Outcomes, Share};
use spillway::model::{CellKey, Hits, Timestamp};
use spillway::store::{RedisSession, RedisStore, Session, Store, StoreError};
use tokio::time::Instant;

use super::failures::{charge, recovered, run};
use crate::support::PATIENCE;
use crate::support::cluster::Cluster;
use crate::support::proxy::{Proxy, Way, settle};

/// Three counters, one at each server: the slots of `{0000}`, `{0001}` and the like are found by trying.
pub(super) fn counters(cluster: &Cluster) -> [CellKey; 3] {
    let slot = |tag: u64| -> u16 {
        let key = format!("{{{tag:04x}}}");
        redis::from_redis_value(cluster.servers[0].ask(&["CLUSTER", "KEYSLOT", &key]).unwrap()).unwrap()
    };
    let at = |server| (0..200).find(|tag| Cluster::owner(slot(*tag)) == server).unwrap();
    [0, 1, 2].map(|server| CellKey { high: at(server) << 48 | 7, low: 9 })
}

pub(super) fn of(key: CellKey, limit: u64, hits: Hits) -> Charge {
    let mut charge = Charge { key, ..charge(hits) };
    charge.share.limit = limit;
    charge
}

pub(super) fn open(cluster: &Cluster) -> RedisStore {
    RedisStore::open(&format!("{}?timeout=1000ms", cluster.url())).unwrap()
}

pub(super) fn ask<'a>(
    session: &'a RedisSession,
    charges: &'a [Charge],
) -> impl Future<Output = Result<Outcomes, StoreError>> + 'a {
    session.apply(Mode::AllOrNothing, charges, Timestamp::EPOCH, Instant::now() + PATIENCE)
}

pub(super) async fn used(session: &RedisSession, key: CellKey) -> u64 {
    ask(session, &[of(key, 1_000, Hits::Look)]).await.unwrap()[0].unwrap().used
}

#[test]
fn where_one_slot_refuses_the_others_give_back() {
    let cluster = Cluster::start();
    let [a, b, c] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        let charges = [of(a, 10, Hits::ONE), of(b, 2, Hits::ONE), of(c, 10, Hits::ONE)];
        for n in 1..=2 {
            let outcomes = ask(&session, &charges).await.unwrap();
            assert!(
                outcomes.iter().all(|outcome| outcome.is_some_and(|told| told.admitted && told.used == n))
            );
        }
        let outcomes = ask(&session, &charges).await.unwrap();
        let told: Vec<_> =
            outcomes.iter().flatten().map(|told| (told.admitted, told.used, told.remaining)).collect();
        assert_eq!(told, [(true, 2, 8), (false, 2, 0), (true, 2, 8)]);
        assert_eq!([used(&session, a).await, used(&session, b).await, used(&session, c).await], [2, 2, 2]);
    });
}

/// The refusal is known after one trip, as an admission is. What the others give back takes a second one, which may be over after
/// nobody waits any more.
#[test]
fn a_refusal_is_told_in_as_many_trips_as_an_admission() {
    const EACH_WAY: Duration = Duration::from_millis(100);
    const WITHIN: Duration = Duration::from_millis(330);
    let cluster = Cluster::start();
    let [a, b, _] = counters(&cluster);
    run(async {
        let way = Proxy::to(cluster.servers[1].address).await;
        let port = way.address.port().to_string();
        cluster.servers[1].ask(&["CONFIG", "SET", "cluster-announce-port", &port]).unwrap();
        let url = format!("redis-cluster://{}/?timeout={}ms", cluster.servers[1].address, WITHIN.as_millis());
        let session = RedisStore::open(&url).unwrap().session();
        let charges = [of(a, 2, Hits::ONE), of(b, 10, Hits::ONE)];
        assert_eq!(recovered_of(&session, &charges).await[0].unwrap().used, 1);
        // The script that gives back is known to the server from now on.
        assert_eq!(used(&session, b).await, 1);
        way.set(Way::Slow(EACH_WAY));
        let told = ask(&session, &charges).await.unwrap();
        assert!(told.iter().flatten().all(|told| told.admitted), "{told:?}");
        for _ in 0..3 {
            let told = ask(&session, &charges).await.unwrap();
            let told: Vec<_> =
                told.iter().flatten().map(|told| (told.admitted, told.used, told.remaining)).collect();
            assert_eq!(told, [(false, 2, 0), (true, 2, 8)]);
        }
        assert_eq!(used(&session, b).await, 2, "what was refused is given back");
    });
}

/// What is answered once servers and slots are found.
async fn recovered_of(session: &RedisSession, charges: &[Charge]) -> Outcomes {
    let begun = Instant::now();
    loop {
        match ask(session, charges).await {
            Ok(outcomes) => return outcomes,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "it does not recover: {error}"),
        }
    }
}

/// A bucket takes no more hits than it has room for, and gives no more back: else a client that is refused elsewhere would empty it.
#[test]
fn a_bucket_gives_back_what_it_took_of_a_refused_attempt_and_no_more() {
    let cluster = Cluster::start();
    let [a, b, _] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        let hour = Duration::from_secs(3_600);
        let bucket = |hits, stage| {
            let plain = of(b, 3, hits);
            let algorithm = Algorithm::token_bucket(3 * hour, 3);
            Charge { share: Share { algorithm, count_denied: true, stage, ..plain.share }, ..plain }
        };
        let first = of(a, 1, Hits::ONE);
        let in_order = async |charges: &[Charge]| {
            let until = Instant::now() + PATIENCE;
            session.apply(Mode::InOrder, charges, Timestamp::EPOCH, until).await.unwrap()
        };
        assert!(in_order(&[first]).await[0].unwrap().admitted);
        assert_eq!(in_order(&[bucket(Hits::charge(2), 0)]).await[0].unwrap().used, 2);
        for _ in 0..2 {
            let refused = in_order(&[first, bucket(Hits::charge(3), 1)]).await;
            assert!(!refused[0].unwrap().admitted && refused[1].is_none(), "{refused:?}");
            settle().await;
            assert_eq!(in_order(&[bucket(Hits::Look, 0)]).await[0].unwrap().used, 2);
        }
        assert!(!in_order(&[bucket(Hits::charge(2), 0)]).await[0].unwrap().admitted, "one hit is left");
    });
}

/// The first hit of a bucket that refills fast is gone before anything can be given back. What was added besides is not.
#[test]
fn a_bucket_that_refills_fast_is_given_back_what_was_added_to_it() {
    let cluster = Cluster::start();
    let [a, b, _] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        // A hit refills in a tenth of a millisecond.
        let bucket = |n| {
            let plain = of(b, 10_000, Hits::charge(n));
            let algorithm = Algorithm::token_bucket(Duration::from_secs(1), 10_000);
            Charge { share: Share { algorithm, ..plain.share }, ..plain }
        };
        let full = of(a, 1, Hits::ONE);
        ask(&session, &[full]).await.unwrap();
        ask(&session, &[bucket(9_000)]).await.unwrap();
        let told = ask(&session, &[full, bucket(900)]).await.unwrap()[1].unwrap();
        let found = ask(&session, &[bucket(0)]).await.unwrap()[0].unwrap();
        assert!(told.used <= 9_000 && found.used <= 9_000, "{told:?}, then {found:?}");
    });
}

#[test]
fn what_is_gone_before_it_can_be_given_back_is_told_as_counted() {
    let cluster = Cluster::start();
    let [a, b, _] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        let plain = of(b, 10_000, Hits::charge(5));
        let algorithm = Algorithm::token_bucket(Duration::from_secs(1), 10_000);
        let bucket = Charge { share: Share { algorithm, ..plain.share }, ..plain };
        let full = of(a, 1, Hits::ONE);
        ask(&session, &[full]).await.unwrap();
        let told = ask(&session, &[full, bucket]).await.unwrap()[1].unwrap();
        assert_eq!((told.used, told.remaining), (5, 9_995));
    });
}

/// Many at a time, each of whose requests is charged to three servers: the smallest limit is reached, and never exceeded.
#[test]
fn no_more_than_the_limit_passes_whatever_is_given_back() {
    let cluster = Cluster::start();
    let [a, b, c] = counters(&cluster);
    run(async {
        let stores = [open(&cluster), open(&cluster)];
        let sessions = stores.each_ref().map(Store::session);
        let mut passed = 0;
        for _ in 0..20 {
            let charges = [of(a, 50, Hits::ONE), of(b, 40, Hits::ONE), of(c, 60, Hits::ONE)];
            let asked = (0..10).map(|n| ask(&sessions[n % 2], &charges));
            for outcomes in join_all(asked).await {
                passed += u64::from(outcomes.unwrap().iter().flatten().all(|told| told.admitted));
            }
        }
        settle().await;
        assert_eq!(passed, 40);
        for key in [a, b, c] {
            assert_eq!(used(&sessions[0], key).await, 40, "what was refused was given back");
        }
    });
}

#[test]
fn a_request_that_is_given_up_leaves_all_of_it_or_nothing() {
    let cluster = Cluster::start();
    let [a, b, c] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        let charges = [of(a, 100, Hits::ONE), of(b, 100, Hits::ONE), of(c, 100, Hits::ONE)];
        ask(&session, &charges).await.unwrap();
        for turns in 0..40 {
            let given_up = async {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                _ = ask(&session, &charges) => {}
                () = given_up => {}
            }
            settle().await;
            let found = [used(&session, a).await, used(&session, b).await, used(&session, c).await];
            assert!(found.iter().all(|used| *used == found[0]), "after {turns} turns: {found:?}");
        }
    });
}

/// It was queued, another request of the same turn sent it with its own, and then nobody waited for it any more.
#[test]
fn a_request_that_is_given_up_once_another_has_sent_it_is_given_back() {
    let cluster = Cluster::start();
    let [a, b, c] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        let charges = [of(a, 100, Hits::ONE), of(b, 100, Hits::ONE), of(c, 100, Hits::ONE)];
        ask(&session, &charges).await.unwrap();
        let mut given_up = Box::pin(ask(&session, &charges));
        assert!(given_up.as_mut().now_or_never().is_none());
        assert_eq!(used(&session, a).await, 2, "it was sent with the look");
        drop(given_up);
        settle().await;
        assert_eq!([used(&session, a).await, used(&session, b).await, used(&session, c).await], [1, 1, 1]);
    });
}

/// Connections to it would be kept for good.
#[test]
fn a_server_that_has_left_is_left() {
    let cluster = Cluster::start();
    let [a, b, c] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        let all = [of(a, 1_000, Hits::ONE), of(b, 1_000, Hits::ONE), of(c, 1_000, Hits::ONE)];
        ask(&session, &all).await.unwrap();
        let clients = |server: usize| {
            let info = cluster.servers[server].ask(&["CLIENT", "LIST"]).unwrap();
            redis::from_redis_value::<String>(info).unwrap().matches("cmd=eval").count()
        };
        assert_eq!(clients(2), 1);
        cluster.hand_over(2, 1);
        let begun = Instant::now();
        // The servers hear of it from each other.
        while ask(&session, &all).await.is_err() || clients(2) > 0 {
            assert!(begun.elapsed() < PATIENCE, "the connection is still there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn replicas_share_one_secret_and_counters_of_one_client_are_in_one_slot() {
    let cluster = Cluster::start();
    run(async {
        let [first, second] = [open(&cluster), open(&cluster)];
        first.ready().await.unwrap();
        second.ready().await.unwrap();
        assert_eq!(first.secret().get(), second.secret().get());
        let session = first.session();
        let [one, other] = [1, 2].map(|low| of(CellKey { high: 5 << 48, low }, 10, Hits::ONE));
        // One script, which a server only runs when all of its keys are in one slot.
        let outcomes = ask(&session, &[one, other]).await.unwrap();
        assert_eq!(outcomes.iter().flatten().map(|told| told.used).collect::<Vec<_>>(), [1, 1]);
    });
}

/// A replica takes over from a master that was killed. Until then only its counters are missing; afterwards they go on, and no more
/// is admitted than the limit.
#[test]
fn what_follows_a_server_that_is_killed_counts_on() {
    let mut cluster = Cluster::start();
    cluster.follow(1);
    let [a, b, _] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        for _ in 0..5 {
            ask(&session, &[of(b, 8, Hits::ONE)]).await.unwrap();
        }
        // One replica has it.
        let had = cluster.servers[1].ask(&["WAIT", "1", "5000"]).unwrap();
        assert_eq!(had, redis::Value::Int(1));
        cluster.servers[1].kill();
        let (begun, mut admitted) = (Instant::now(), 0);
        loop {
            assert!(ask(&session, &[of(a, 1_000_000, Hits::ONE)]).await.is_ok(), "the others count on");
            match ask(&session, &[of(b, 8, Hits::ONE)]).await.map(|told| told[0].unwrap().admitted) {
                Ok(true) => admitted += 1,
                Ok(false) => break,
                Err(_) => assert!(begun.elapsed() < PATIENCE, "it does not recover"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(admitted, 3);
        assert!(ask(&session, &[of(a, 1_000_000, Hits::ONE), of(b, 9, Hits::ONE)]).await.is_ok());
    });
}

#[test]
fn a_server_that_is_killed_takes_only_its_own_counters_with_it() {
    let mut cluster = Cluster::start();
    let [a, b, c] = counters(&cluster);
    run(async {
        let session = open(&cluster).session();
        let charges = [of(a, 100, Hits::ONE), of(b, 100, Hits::ONE), of(c, 100, Hits::ONE)];
        ask(&session, &charges).await.unwrap();
        cluster.servers[1].kill();
        for _ in 0..10 {
            assert!(ask(&session, &charges).await.is_err());
        }
        settle().await;
        for key in [a, c] {
            assert_eq!(used(&session, key).await, 1, "what the others have counted is given back");
        }
        cluster.servers[1].restart();
        let begun = Instant::now();
        while ask(&session, &charges).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "it does not recover");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(used(&session, a).await, 2);
    });
}

#[test]
fn a_cluster_that_is_down_at_the_start_is_told_and_found() {
    let mut cluster = Cluster::start();
    cluster.servers.iter_mut().for_each(crate::support::valkey::Valkey::kill);
    run(async {
        let store = open(&cluster);
        let wrong = store.ready().await.unwrap_err();
        let why = std::error::Error::source(&wrong).unwrap().to_string();
        assert!(why.starts_with("no server of the cluster tells its slots (`127.0.0.1:"), "{why}");
        cluster.servers.iter_mut().for_each(crate::support::valkey::Valkey::restart);
        let session = super::failures::session(&cluster.url());
        assert_eq!(recovered(&session, Hits::ONE).await, 1);
    });
}

/// The only server of a cluster, as far as it says itself, which has the secret.
struct OnlyServer {
    is_cut_off: Arc<AtomicBool>,
    port: u16,
}

impl OnlyServer {
    const SECRET: &str = "00112233445566778899aabbccddeeff";

    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_cut_off = Arc::new(AtomicBool::new(true));
        let of_thread = Arc::clone(&is_cut_off);
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let is_cut_off = Arc::clone(&of_thread);
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    while let Some(command) = read(&mut reader) {
                        let answer = Self::answer(&command, port, is_cut_off.load(Ordering::SeqCst));
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { is_cut_off, port }
    }

    fn answer(command: &[String], port: u16, is_cut_off: bool) -> String {
        let text = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words[..] {
            ["CLUSTER", "SLOTS", ..] => {
                format!("*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n{}:{port}\r\n{}", text("127.0.0.1"), text("id"))
            }
            ["CLUSTER", "INFO", ..] if is_cut_off => text("cluster_state:fail\r\n"),
            ["CLUSTER", "INFO", ..] => text("cluster_state:ok\r\n"),
            ["GET" | "SET", ..] if is_cut_off => "-CLUSTERDOWN The cluster is down\r\n".to_owned(),
            ["GET", ..] => text(Self::SECRET),
            _ => "+OK\r\n".to_owned(),
        }
    }
}

/// A command as clients send one, a list of texts.
fn read(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    };
    let words = line()?.strip_prefix('*')?.parse().ok()?;
    (0..words).map(|_| line().and_then(|_| line())).collect()
}

#[test]
fn slots_are_not_believed_before_the_secret_of_the_cluster_is_known() {
    let server = OnlyServer::start();
    run(async {
        let store = RedisStore::open(&format!("redis-cluster://127.0.0.1:{}", server.port)).unwrap();
        let why = store.ready().await.unwrap_err();
        let why = std::error::Error::source(&why).map_or_else(|| why.to_string(), ToString::to_string);
        assert!(why.contains("it says that the cluster is down"), "{why}");
        server.is_cut_off.store(false, Ordering::SeqCst);
        let begun = Instant::now();
        // It is not asked again at once.
        while store.ready().await.is_err() {
            assert!(begun.elapsed() < PATIENCE);
            tokio::task::yield_now().await;
        }
        let [high, low] = store.secret().get();
        assert_eq!(format!("{high:016x}{low:016x}"), OnlyServer::SECRET);
    });
}
