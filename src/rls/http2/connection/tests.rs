//! What becomes of clients that are slow, silent or unlucky, on a real socket and with the time of the test.

use std::net::SocketAddr;

use bytes::BytesMut;
use h2::client::{self, ResponseFuture, SendRequest};
use http::HeaderMap;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use std::time::Duration;

use super::*;
use crate::algorithm::{Charge, Mode, Outcomes};
use crate::clock::ManualClock;
use crate::config;
use crate::limiter::Limiter;
use crate::model::Timestamp;
use crate::rls::http2::lifetime::{GOES_WITHIN, IDLE, LOOK_EVERY, MaxAge, NEVER_CALLED, PREFACE_WITHIN};
use crate::store::{Answers, MemoryStore, Session, Statistics, StoreError};
use crate::telemetry::{Format, Snapshot};

const POLICY: &str = "
domain: d
descriptors:
  - {key: key, rate_limit: {unit: hour, requests_per_unit: 1000}}
  - {key: cursed, rate_limit: {unit: hour, requests_per_unit: 13}}
";

/// Codes of gRPC.
const DEADLINE_EXCEEDED: &str = "4";
const INTERNAL: &str = "13";

/// A store that meets a bug where the limit is thirteen.
#[derive(Clone, Debug)]
struct Cursed(MemoryStore);

impl Store for Cursed {
    type Session = Self;

    fn session(&self) -> Self {
        self.clone()
    }

    fn statistics(&self) -> Statistics {
        self.0.statistics()
    }
}

impl Session for Cursed {
    const ANSWERS: Answers = Answers::Now;

    fn apply_now(&self, mode: Mode, charges: &[Charge], now: Timestamp) -> Option<Outcomes> {
        assert!(charges.iter().all(|charge| charge.share.limit != 13), "unlucky number");
        self.0.apply_now(mode, charges, now)
    }

    async fn apply(
        &self,
        mode: Mode,
        charges: &[Charge],
        now: Timestamp,
        _: Instant,
    ) -> Result<Outcomes, StoreError> {
        Ok(self.apply_now(mode, charges, now).unwrap())
    }
}

/// What serves one connection: where, how it ends, and what was counted meanwhile.
struct Served {
    address: SocketAddr,
    ended: tokio::task::JoinHandle<Duration>,
    metrics: Arc<Metrics>,
    /// Ends it when it is dropped.
    stop: tokio::sync::oneshot::Sender<()>,
}

/// Serves the first connection; returns how long it lasted. To be called within a `LocalSet`.
async fn served() -> Served {
    served_within(None).await
}

/// The same of a connection that may become so old.
async fn served_within(max_age: Option<MaxAge>) -> Served {
    let policy = config::load_text("d.yaml", POLICY, config::Options::default()).unwrap().policy;
    let clock = ManualClock::at(Timestamp::from_secs(1_000_000));
    let limiter = Arc::new(Limiter::new(policy, Cursed(MemoryStore::default()), clock));
    let metrics = Arc::new(Metrics::default());
    let shared = Shared {
        metrics: Arc::clone(&metrics),
        memory_budget: MemoryBudget::default(),
        long_requests: LongRequests::start(Arc::clone(&limiter), Arc::clone(&metrics)).unwrap(),
        beyond_bounds: BeyondBounds::Refuse,
        invalid_authority: InvalidAuthority::Accept,
        tracer: None,
        max_age,
    };
    let service = RateLimitService::new(limiter.worker(), Arc::clone(&metrics));
    let server = Rc::new(Server::new(service, Routes::default(), shared));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    let ended = tokio::task::spawn_local(async move {
        let (socket, peer) = listener.accept().await.unwrap();
        let start = Instant::now();
        let activity = Arc::new(Activity::since(start));
        server.serve(socket, peer.into(), activity, async { stopping.await.unwrap_or_default() }).await;
        start.elapsed()
    });
    Served { address, ended, metrics, stop }
}

async fn connect(served: &Served) -> SendRequest<Bytes> {
    let socket = busy(TcpStream::connect(served.address)).await.unwrap();
    let (sender, connection) = busy(client::handshake(socket)).await.unwrap();
    tokio::spawn(connection);
    busy(sender.ready()).await.unwrap()
}

fn begin(sender: &mut SendRequest<Bytes>) -> (ResponseFuture, h2::SendStream<Bytes>) {
    let call =
        Request::post(format!("http://d{SHOULD_RATE_LIMIT}")).header("content-type", "application/grpc");
    let call = call.body(()).unwrap();
    sender.send_request(call, false).unwrap()
}

/// A message with one descriptor of one entry, behind its prefix.
fn message(key: &str) -> Bytes {
    let entry = [&[0x0a, u8::try_from(key.len()).unwrap()], key.as_bytes(), &[0x12, 1, b'v']].concat();
    let nested = |field: u8, inner: &[u8]| [&[field, u8::try_from(inner.len()).unwrap()], inner].concat();
    let message = [vec![0x0a, 1, b'd'], nested(0x12, &nested(0x0a, &entry))].concat();
    [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], message.as_slice()].concat().into()
}

/// The `grpc-status` of an answer, and its message.
async fn status(answer: ResponseFuture) -> (String, Bytes) {
    busy(whole(answer)).await
}

async fn whole(answer: ResponseFuture) -> (String, Bytes) {
    let answer = answer.await.unwrap();
    let status = |headers: &HeaderMap| headers.get("grpc-status").map(|s| s.to_str().unwrap().to_owned());
    if let Some(status) = status(answer.headers()) {
        return (status, Bytes::new());
    }
    let (mut body, mut bytes) = (answer.into_body(), BytesMut::new());
    while let Some(data) = body.data().await {
        bytes.extend_from_slice(&data.unwrap());
    }
    (status(&body.trailers().await.unwrap().unwrap()).unwrap(), bytes.freeze())
}

async fn call(sender: &mut SendRequest<Bytes>, key: &str) -> String {
    let (answer, mut body) = begin(sender);
    body.send_data(message(key), true).unwrap();
    status(answer).await.0
}

/// Runs a test whose time goes on only when the test says so: see [`busy`].
fn run<F: Future>(test: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().event_interval(1).start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// Waits without ever having nothing to do: a paused clock goes on by itself when nobody has, which to it includes
/// waiting for a socket.
async fn busy<F: Future>(what: F) -> F::Output {
    let mut what = pin!(what);
    loop {
        if let Poll::Ready(done) = futures_util::poll!(what.as_mut()) {
            return done;
        }
        tokio::task::yield_now().await;
    }
}

/// Lets time pass in steps, and whatever happens at each of them happen.
async fn pass(time: Duration) {
    let mut left = time;
    while !left.is_zero() {
        let step =
            left.min(if time > LOOK_EVERY * 2 { Duration::from_secs(10) } else { Duration::from_secs(1) });
        tokio::time::advance(step).await;
        left -= step;
        for _ in 0..30 {
            tokio::task::yield_now().await;
        }
    }
}

/// Lets up to `most` pass until the connection has ended; returns how long it lasted.
async fn end_within(most: Duration, served: Served) -> Duration {
    let start = Instant::now();
    while !served.ended.is_finished() {
        assert!(start.elapsed() < most, "it goes on");
        pass(most / 100).await;
    }
    served.ended.await.unwrap()
}

#[test]
fn a_client_that_does_not_begin_is_let_go() {
    for beginning in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        run(async {
            let served = served().await;
            let mut socket = busy(TcpStream::connect(served.address)).await.unwrap();
            socket.write_all(beginning).await.unwrap();
            let metrics = Arc::clone(&served.metrics);
            let lasted = end_within(PREFACE_WITHIN * 2, served).await;
            assert!((PREFACE_WITHIN..PREFACE_WITHIN * 2).contains(&lasted), "{lasted:?}");
            assert!(
                metrics
                    .render(Snapshot::default(), Format::default())
                    .contains("connections_ended_total 1\n")
            );
        });
    }
}

#[test]
fn a_client_that_does_not_read_its_answer_is_let_go() {
    run(async {
        let served = served().await;
        let socket = busy(TcpStream::connect(served.address)).await.unwrap();
        // No stream may send any data before its client says so.
        let (mut sender, connection) =
            busy(client::Builder::new().initial_window_size(0).handshake(socket)).await.unwrap();
        tokio::spawn(connection);
        let (_unread, mut body) = begin(&mut sender);
        body.send_data(message("key"), true).unwrap();
        let metrics = Arc::clone(&served.metrics);
        let lasted = end_within(LOOK_EVERY * 3, served).await;
        assert!(lasted > LOOK_EVERY, "{lasted:?}");
        assert!(
            metrics.render(Snapshot::default(), Format::default()).contains("connections_ended_total 1\n")
        );
    });
}

#[test]
fn a_connection_without_calls_is_closed_in_order() {
    run(async {
        let served = served().await;
        let mut sender = connect(&served).await;
        // As long as there are calls it stays, and then it goes.
        for _ in 0..5 {
            assert_eq!(call(&mut sender, "key").await, "0");
            pass(IDLE * 9 / 10).await;
        }
        let metrics = Arc::clone(&served.metrics);
        let lasted = end_within(IDLE * 2, served).await;
        let spent = IDLE * 9 / 2;
        assert!((spent..spent + IDLE + LOOK_EVERY * 2).contains(&lasted), "{lasted:?}");
        assert!(
            metrics.render(Snapshot::default(), Format::default()).contains("connections_ended_total 0\n"),
            "nobody did anything"
        );
    });
}

#[test]
fn an_old_connection_is_asked_to_go_however_busy_it_is() {
    run(async {
        let age = Duration::from_secs(600);
        let served = served_within(Some(MaxAge { age, grace: LOOK_EVERY })).await;
        let mut sender = connect(&served).await;
        let begun = Instant::now();
        while busy(sender.clone().ready()).await.is_ok() {
            assert_eq!(call(&mut sender, "key").await, "0");
            assert!(begun.elapsed() < age * 2, "it goes on");
            pass(Duration::from_secs(5)).await;
        }
        let asked = begun.elapsed();
        let most = age * 11 / 10 + Duration::from_secs(10);
        assert!((age * 9 / 10..=most).contains(&asked), "{asked:?}");
        drop(sender);
        let metrics = Arc::clone(&served.metrics);
        end_within(age * 2, served).await;
        assert!(
            metrics.render(Snapshot::default(), Format::default()).contains("connections_ended_total 0\n")
        );
    });
}

#[test]
fn a_message_that_does_not_arrive_is_given_up_and_others_are_answered() {
    run(async {
        let served = served().await;
        let mut sender = connect(&served).await;
        let start = Instant::now();
        let (silent, _body) = begin(&mut sender);
        let (slow, mut slow_body) = begin(&mut sender);
        assert_eq!(call(&mut sender, "key").await, "0");
        // A byte a second is as little as none.
        for byte in &message("key")[..11] {
            let _ = slow_body.send_data(Bytes::copy_from_slice(&[*byte]), false);
            pass(Duration::from_secs(1)).await;
        }
        assert_eq!(status(silent).await.0, DEADLINE_EXCEEDED);
        assert_eq!(status(slow).await.0, DEADLINE_EXCEEDED);
        assert_eq!(start.elapsed(), Duration::from_secs(11));
        assert_eq!(call(&mut sender, "key").await, "0");
    });
}

#[test]
fn a_connection_that_never_makes_a_call_ends_after_a_minute_though_its_client_does_not_agree() {
    run(async {
        let served = served().await;
        let mut socket = busy(TcpStream::connect(served.address)).await.unwrap();
        busy(socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")).await.unwrap();
        let lasted = end_within(NEVER_CALLED * 2, served).await;
        let most = NEVER_CALLED + GOES_WITHIN + Duration::from_secs(2);
        assert!((NEVER_CALLED..=most).contains(&lasted), "{lasted:?}");
    });
}

#[test]
fn a_panic_ends_its_own_call_and_no_other() {
    run(async {
        let served = served().await;
        let mut sender = connect(&served).await;
        let (other, mut other_body) = begin(&mut sender);
        assert_eq!(call(&mut sender, "cursed").await, INTERNAL);
        other_body.send_data(message("key"), true).unwrap();
        assert_eq!(status(other).await.0, "0", "a call that was begun before");
        assert_eq!(call(&mut sender, "key").await, "0", "a call on the same connection after it");
        assert!(
            served
                .metrics
                .render(Snapshot::default(), Format::default())
                .contains("calls_panicked_total 1\n")
        );
    });
}

#[test]
fn a_connection_that_has_not_begun_holds_up_no_drain() {
    run(async {
        let served = served().await;
        let _socket = busy(TcpStream::connect(served.address)).await.unwrap();
        pass(Duration::from_secs(1)).await;
        let Served { ended, stop, .. } = served;
        drop(stop);
        assert!(busy(ended).await.unwrap() <= Duration::from_secs(1));
    });
}

#[test]
fn a_client_that_does_not_read_why_it_was_refused_is_let_go() {
    run(async {
        let served = served().await;
        let socket = busy(TcpStream::connect(served.address)).await.unwrap();
        let handshake = client::Builder::new().initial_window_size(0).handshake::<TcpStream, Bytes>(socket);
        let (mut sender, connection) = busy(handshake).await.unwrap();
        tokio::spawn(connection);
        let call = Request::get("http://d/").body(()).unwrap();
        let _refused = sender.send_request(call, true).unwrap();
        let lasted = end_within(Duration::from_secs(200), served).await;
        assert!(lasted >= Duration::from_secs(49), "{lasted:?}");
    });
}

#[test]
fn a_client_that_makes_no_call_of_grpc_is_let_go_however_often_it_asks() {
    run(async {
        let served = served().await;
        let mut sender = connect(&served).await;
        for _ in 0..20 {
            if served.ended.is_finished() {
                return;
            }
            let call = Request::get("http://d/").body(()).unwrap();
            // Refused once the connection is to end.
            if let Ok((answer, _)) = sender.send_request(call, true) {
                let _ = busy(answer).await;
            }
            pass(Duration::from_secs(30)).await;
        }
        assert!(served.ended.is_finished(), "it is still there after ten minutes");
    });
}
