//! A server that fails in every way there is. Each failure is told in time and in the server's own words, what was not answered in
//! time is not charged, and the store recovers by itself.

use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt as _;
use spillway::algorithm::{Algorithm, Charge, Durability, Mode, Share};
use spillway::model::{CellKey, Hits, Timestamp};
use spillway::store::{RedisSession, RedisStore, Session, Store, StoreError};
use tokio::time::Instant;

use crate::support::PATIENCE;
use crate::support::proxy::{Proxy, Way, settle};
use crate::support::valkey::{Valkey, pause};

/// How long a decision is waited for here.
const TIMEOUT: Duration = Duration::from_millis(100);
/// By when the caller has an answer: the machine may be busy with other tests.
const IN_TIME: Duration = Duration::from_millis(400);

pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

pub(super) fn session(url: &str) -> RedisSession {
    let separator = if url.contains('?') { '&' } else { '?' };
    RedisStore::open(&format!("{url}{separator}timeout={}ms", TIMEOUT.as_millis())).unwrap().session()
}

pub(super) fn charge(hits: Hits) -> Charge {
    let share = Share {
        algorithm: Algorithm::anchored(Duration::from_secs(3_600)),
        limit: 1_000,
        hits,
        count_denied: false,
        settles: false,
        enforced: true,
        stage: 0,
        cell: 0,
    };
    Charge { key: CellKey { high: 7, low: 9 }, durability: Durability::None, share }
}

/// Asks in time; tells the count.
pub(super) async fn ask(session: &RedisSession, hits: Hits) -> Result<u64, StoreError> {
    let begun = Instant::now();
    let deadline = begun + PATIENCE;
    let answer = session.apply(Mode::Each, &[charge(hits)], Timestamp::EPOCH, deadline).await;
    assert!(begun.elapsed() < IN_TIME, "answered after {:?}: {answer:?}", begun.elapsed());
    Ok(answer?[0].unwrap().used)
}

pub(super) async fn used(session: &RedisSession) -> u64 {
    recovered(session, Hits::Look).await
}

/// What is answered once the store is well again.
pub(super) async fn recovered(session: &RedisSession, hits: Hits) -> u64 {
    let begun = Instant::now();
    loop {
        match ask(session, hits).await {
            Ok(used) => return used,
            Err(error) if begun.elapsed() > PATIENCE => panic!("it does not recover: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[track_caller]
pub(super) fn refused(answer: Result<u64, StoreError>, words: &str) {
    match answer {
        Err(StoreError::Refused { reason }) if reason.contains(words) => {}
        other => panic!("not refused with `{words}`: {other:?}"),
    }
}

#[track_caller]
fn timed_out(answer: &Result<u64, StoreError>) {
    assert!(matches!(answer, Err(StoreError::TimedOut { .. })), "{answer:?}");
}

#[track_caller]
fn unreachable(answer: &Result<u64, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Unreachable { .. })), "{answer:?}");
}

#[test]
fn calls_that_were_given_up_before_they_were_sent_keep_nobody_out() {
    let server = Valkey::start(&[]);
    run(async {
        let session = session(&server.url());
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 1);
        for _ in 0..5_000 {
            let deadline = Instant::now() + PATIENCE;
            let asked = [charge(Hits::ONE)];
            let given_up = session.apply(Mode::Each, &asked, Timestamp::EPOCH, deadline).now_or_never();
            assert!(given_up.is_none_or(|answer| answer.is_err()));
        }
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 2);
    });
}

#[test]
fn a_server_that_stands_still_is_not_waited_for_and_charges_nothing_afterwards() {
    let server = Valkey::start(&[]);
    run(async {
        let session = session(&server.url());
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 1);
        server.signal("STOP");
        for _ in 0..3 {
            timed_out(&ask(&session, Hits::ONE).await);
        }
        server.signal("CONT");
        assert_eq!(used(&session).await, 1);
        settle().await;
        assert_eq!(recovered(&session, Hits::ONE).await, 2);
    });
}

/// As seen from here the server's clock jumps: it was set, or this process stood still.
#[test]
fn a_server_whose_clock_jumps_ahead_is_asked_once_more() {
    let server = Valkey::start(&[]);
    run(async {
        let session = session(&server.url());
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 1);
        for n in 2..4 {
            tokio::time::pause();
            pause(2 * TIMEOUT);
            tokio::time::resume();
            assert_eq!(ask(&session, Hits::ONE).await.unwrap(), n);
        }
    });
}

#[test]
fn a_server_that_stands_still_for_long_is_given_up_and_found_again() {
    let server = Valkey::start(&[]);
    run(async {
        let session = session(&server.url());
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 1);
        server.signal("STOP");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(3_500) {
            assert!(ask(&session, Hits::ONE).await.is_err());
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        unreachable(&ask(&session, Hits::ONE).await);
        server.signal("CONT");
        // Nobody asks meanwhile, as while a breaker is open.
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(ask(&session, Hits::Look).await.unwrap(), 1);
        settle().await;
        assert_eq!(recovered(&session, Hits::ONE).await, 2);
    });
}

#[test]
fn a_server_that_is_restarted_is_found_again_and_given_the_script() {
    let mut server = Valkey::start(&[]);
    run(async {
        let session = session(&server.url());
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 1);
        server.kill();
        for _ in 0..5 {
            unreachable(&ask(&session, Hits::ONE).await);
        }
        server.restart();
        assert_eq!(recovered(&session, Hits::ONE).await, 1);
    });
}

#[test]
fn a_server_that_is_there_again_answers_the_first_who_asks() {
    let mut server = Valkey::start(&[]);
    run(async {
        let session = session(&server.url());
        server.kill();
        for _ in 0..5 {
            unreachable(&ask(&session, Hits::ONE).await);
        }
        server.restart();
        // As long as nobody tries after that many failures.
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 1);
    });
}

#[test]
fn a_server_that_is_down_at_the_start_is_found_when_it_is_up() {
    let mut server = Valkey::start(&[]);
    server.kill();
    run(async {
        let session = session(&server.url());
        unreachable(&ask(&session, Hits::ONE).await);
        server.restart();
        assert_eq!(recovered(&session, Hits::ONE).await, 1);
    });
}

#[test]
fn a_server_that_forgot_its_scripts_is_given_this_one() {
    let server = Valkey::start(&[]);
    run(async {
        let session = session(&server.url());
        for used in 1..4 {
            server.ask(&["SCRIPT", "FLUSH"]).unwrap();
            assert_eq!(ask(&session, Hits::ONE).await.unwrap(), used);
        }
    });
}

#[test]
fn a_server_without_memory_refuses() {
    let server = Valkey::start(&[]);
    run(async {
        let session = session(&server.url());
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 1);
        server.ask(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
        refused(ask(&session, Hits::ONE).await, "OOM");
        server.ask(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 2);
    });
}

#[test]
fn a_server_that_may_only_be_read_from_refuses() {
    let server = Valkey::start(&[]);
    run(async {
        let session = session(&server.url());
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 1);
        server.ask(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
        refused(ask(&session, Hits::ONE).await, "READONLY");
        server.ask(&["REPLICAOF", "NO", "ONE"]).unwrap();
        assert_eq!(recovered(&session, Hits::ONE).await, 2);
    });
}

#[test]
fn a_server_that_reads_its_file_first_refuses_and_goes_on_counting_then() {
    let slowly = ["--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024"];
    let mut server = Valkey::start(&slowly);
    run(async {
        let fill = "for key = 1, 3000 do redis.call('SET', key, key) end";
        server.ask(&["EVAL", fill, "0"]).unwrap();
        assert_eq!(ask(&session(&server.url()), Hits::ONE).await.unwrap(), 1);
        server.ask(&["SAVE"]).unwrap();
        server.kill();
        server.restart();
        let session = session(&server.url());
        let refused = loop {
            match ask(&session, Hits::ONE).await {
                Err(StoreError::TimedOut { .. } | StoreError::Unreachable { .. }) => {}
                other => break other,
            }
        };
        self::refused(refused, "LOADING");
        assert_eq!(recovered(&session, Hits::ONE).await, 2);
    });
}

#[test]
fn a_server_that_is_busy_with_another_script_refuses() {
    let server = Valkey::start(&["--busy-reply-threshold", "1"]);
    run(async {
        let session = session(&server.url());
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 1);
        let client = redis::Client::open(server.url()).unwrap();
        let mut other = client.get_multiplexed_async_connection().await.unwrap();
        let busy = tokio::spawn(async move {
            redis::cmd("EVAL").arg("while true do end").arg(0).query_async::<()>(&mut other).await
        });
        settle().await;
        refused(ask(&session, Hits::ONE).await, "BUSY");
        server.ask(&["SCRIPT", "KILL"]).unwrap();
        busy.await.unwrap().unwrap_err();
        assert_eq!(recovered(&session, Hits::ONE).await, 2);
    });
}

#[test]
fn a_server_that_wants_a_password_gets_it_from_the_url_or_a_file() {
    let server = Valkey::start(&["--requirepass", "geheim"]);
    let address = server.address;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    run(async {
        refused(ask(&session(&server.url()), Hits::ONE).await, "NOAUTH");
        refused(ask(&session(&format!("redis://:falsch@{address}/")), Hits::ONE).await, "the password");
        assert_eq!(ask(&session(&format!("redis://:geheim@{address}/")), Hits::ONE).await.unwrap(), 1);

        std::fs::write(path, "falsch").unwrap();
        let session = session(&format!("redis://{address}/?password_file={path}"));
        refused(ask(&session, Hits::ONE).await, "the password");
        // It is read again for the next connection.
        std::fs::write(path, "geheim\n").unwrap();
        assert_eq!(recovered(&session, Hits::ONE).await, 2);
    });
}

#[test]
fn requests_that_are_held_up_on_their_way_are_not_charged() {
    let server = Valkey::start(&[]);
    run(async {
        let proxy = Proxy::to(server.address).await;
        let session = session(&format!("redis://{}/", proxy.address));
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 1);
        proxy.set(Way::Stalled);
        timed_out(&ask(&session, Hits::ONE).await);
        proxy.set(Way::Open);
        settle().await;
        assert_eq!(recovered(&session, Hits::ONE).await, 2);
    });
}

#[test]
fn an_answer_that_is_lost_leaves_its_charge() {
    let server = Valkey::start(&[]);
    run(async {
        let proxy = Proxy::to(server.address).await;
        let session = session(&format!("redis://{}/", proxy.address));
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 1);
        proxy.set(Way::AnswersStalled);
        timed_out(&ask(&session, Hits::ONE).await);
        proxy.set(Way::Open);
        assert_eq!(recovered(&session, Hits::ONE).await, 3);
    });
}

#[test]
fn a_connection_that_is_reset_is_told_at_once_and_made_again() {
    let server = Valkey::start(&[]);
    run(async {
        let proxy = Proxy::to(server.address).await;
        let session = session(&format!("redis://{}/", proxy.address));
        assert_eq!(ask(&session, Hits::ONE).await.unwrap(), 1);
        proxy.set(Way::Stalled);
        let begun = Instant::now();
        let answer = async {
            let answer = ask(&session, Hits::ONE).await;
            (answer, begun.elapsed())
        };
        let reset = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            proxy.set(Way::Reset);
        };
        let ((answer, after), ()) = tokio::join!(answer, reset);
        unreachable(&answer);
        assert!(after < TIMEOUT, "{after:?}");
        proxy.set(Way::Open);
        assert_eq!(recovered(&session, Hits::ONE).await, 2);
    });
}

#[test]
fn a_counter_that_others_wrote_is_not_overwritten() {
    let server = Valkey::start(&[]);
    let key = "spillway:00000000000000070000000000000009";
    run(async {
        let session = session(&server.url());
        for written in ["hello", "\u{2}\u{1}0123456789abcd", ""] {
            server.ask(&["SET", key, written]).unwrap();
            let answer = ask(&session, Hits::ONE).await;
            assert!(matches!(answer, Err(StoreError::Unreadable { .. })), "{written}: {answer:?}");
            assert_eq!(
                server.ask(&["GET", key]).unwrap(),
                redis::Value::BulkString(written.as_bytes().to_vec())
            );
        }
        server.ask(&["DEL", key]).unwrap();
        server.ask(&["HSET", key, "a", "b"]).unwrap();
        let answer = ask(&session, Hits::ONE).await;
        assert!(matches!(answer, Err(StoreError::Unreadable { .. })), "a hash: {answer:?}");
        assert_eq!(server.ask(&["HLEN", key]).unwrap(), redis::Value::Int(1));
        // The other script, which decides on what is no mere charge. Whoever is decided on in the same run has an answer.
        let plain = charge(Hits::ONE);
        let counted = Charge { share: Share { count_denied: true, ..plain.share }, ..plain };
        let elsewhere = Charge { key: CellKey { high: 8, low: 9 }, ..counted };
        let asked = async |charge: &Charge| {
            let deadline = Instant::now() + PATIENCE;
            session.apply(Mode::Each, std::slice::from_ref(charge), Timestamp::EPOCH, deadline).await
        };
        let (answer, of_others) = tokio::join!(asked(&counted), asked(&elsewhere));
        assert!(matches!(answer, Err(StoreError::Unreadable { .. })), "a hash: {answer:?}");
        assert_eq!(of_others.unwrap()[0].unwrap().used, 1);
        assert_eq!(server.ask(&["HGET", key, "a"]).unwrap(), redis::Value::BulkString(b"b".to_vec()));
    });
}

#[test]
fn replicas_count_together_and_counters_end_by_themselves() {
    let server = Valkey::start(&[]);
    run(async {
        let replicas = [session(&server.url()), session(&server.url())];
        for used in 1..9 {
            assert_eq!(ask(&replicas[usize::from(used % 2 == 0)], Hits::ONE).await.unwrap(), used);
        }
        let left = server.ask(&["PTTL", "spillway:00000000000000070000000000000009"]).unwrap();
        let redis::Value::Int(left) = left else { panic!("{left:?}") };
        assert!((3_590_000..=3_602_000).contains(&left), "{left} ms");
    });
}
