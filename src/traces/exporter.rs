//! The thread that collects spans and sends them.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::collector::{Collector, SendError};
use super::encode;
use super::options::TraceOptions;
use super::span::{CallSpan, End, Tracer};
use crate::model::Timestamp;
use crate::telemetry::{Metrics, SpanCounts, SpansDropped, SpansSentAgain, TaskEnded, Tracing};

/// The pauses before a batch is sent again that could not be sent. After the last try it is dropped.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// The most that a collector can make of a pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long sending what is left may take at the end.
const FINISHED_WITHIN: Duration = Duration::from_secs(2);
/// How often is told what goes on.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// Sends the spans of calls to a collector, on a thread of its own.
#[derive(Debug)]
pub struct Exporter {
    tracer: Tracer,
    finishing: watch::Sender<Option<Instant>>,
    finished: oneshot::Receiver<()>,
}

impl Exporter {
    /// Starts the thread. It counts in `metrics`; `now` says what the wall clock shows.
    ///
    /// # Errors
    ///
    /// When the system has no thread or no files for it.
    pub fn start(
        options: TraceOptions,
        metrics: &Arc<Metrics>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let options = Arc::new(options);
        Tracing {
            to: &options.endpoint.to_string(),
            protocol: &options.protocol.to_string(),
            rate: options.sampler.rate(),
        }
        .emit();
        let counts = Arc::new(SpanCounts::default());
        metrics.watch_spans(Arc::clone(&counts));
        let (queue, spans) = mpsc::channel(options.most_waiting);
        let end = End { queue, counts: Arc::clone(&counts), now: Box::new(now) };
        let tracer = Tracer::new(options.sampler, end);
        let (finishing, asked) = watch::channel(None);
        let (finish, finished) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let metrics = Arc::clone(metrics);
        thread::Builder::new().name("traces".to_owned()).spawn(move || {
            let sending = AssertUnwindSafe(Sending::new(options, counts, spans, asked).run()).catch_unwind();
            if runtime.block_on(sending).is_err() {
                // Spans are dropped from now on. Decisions go on.
                TaskEnded { what: "traces", is_restarted: false }.emit(&metrics);
            }
            // At the end of the process nobody waits for this.
            let _ = finish.send(());
        })?;
        Ok(Self { tracer, finishing, finished })
    }

    /// What begins spans.
    pub fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    /// Sends what is left, as far as that takes a short time.
    pub async fn finish(self) {
        let _ = self.finishing.send(Some(Instant::now() + FINISHED_WITHIN));
        // The thread reports what it could not send.
        let _ = timeout(FINISHED_WITHIN * 2, self.finished).await;
    }
}

/// What the thread does.
struct Sending {
    options: Arc<TraceOptions>,
    collector: Collector,
    counts: Arc<SpanCounts>,
    spans: mpsc::Receiver<Box<CallSpan>>,
    /// Until when all has to be sent, once that is so.
    finishing: watch::Receiver<Option<Instant>>,
    #[expect(clippy::vec_box, reason = "as they come out of the queue")]
    batch: Vec<Box<CallSpan>>,
    report: Report,
}

/// What was told, and when.
#[derive(Debug, Default)]
struct Report {
    is_failing: bool,
    told: Option<Instant>,
    /// How many were dropped by then.
    dropped: u64,
}

impl Sending {
    fn new(
        options: Arc<TraceOptions>,
        counts: Arc<SpanCounts>,
        spans: mpsc::Receiver<Box<CallSpan>>,
        finishing: watch::Receiver<Option<Instant>>,
    ) -> Self {
        let batch = Vec::with_capacity(options.largest_batch);
        let collector = Collector::new(Arc::clone(&options));
        Self { options, collector, counts, spans, finishing, batch, report: Report::default() }
    }

    /// Sends batches until the end was asked for, or nobody is left who could.
    async fn run(mut self) {
        loop {
            let goes_on = self.collect().await;
            if !self.batch.is_empty() {
                self.send().await;
            }
            if !goes_on && self.batch.is_empty() && self.spans.is_empty() {
                break;
            }
        }
        self.report.finish(&self.options, &self.counts);
    }

    /// Fills the batch: until it is full, its first span has waited for long enough, or the end is asked for. Returns whether more
    /// may come after it.
    async fn collect(&mut self) -> bool {
        let Self { options, spans, finishing, batch, .. } = self;
        let largest = options.largest_batch;
        let asked = finishing.wait_for(Option::is_some);
        let collecting = async {
            if spans.recv_many(batch, largest).await == 0 {
                return false;
            }
            let until = Instant::now() + options.delay;
            while batch.len() < largest {
                match timeout_at(until, spans.recv_many(batch, largest - batch.len())).await {
                    Ok(0) => return false,
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            true
        };
        let goes_on = tokio::select! {
            biased;
            _ = asked => false,
            goes_on = collecting => goes_on,
        };
        if !goes_on {
            while batch.len() < largest {
                let Ok(span) = spans.try_recv() else { break };
                batch.push(span);
            }
        }
        goes_on
    }

    /// Sends the batch, and again if that fails for a while; else it is dropped.
    async fn send(&mut self) {
        let request = encode::request(&self.options.resource, &self.batch);
        let spans = self.batch.iter().map(|span| encode::spans(span)).sum::<u64>();
        self.batch.clear();
        let mut pauses = PAUSES.iter();
        loop {
            let mut finishing = self.finishing.clone();
            let sent = tokio::select! {
                biased;
                sent = self.collector.send(&request) => sent,
                () = end(&mut finishing) => Err(SendError::away("no answer before the server ends")),
            };
            let error = match sent {
                Ok(refused) => {
                    let refused_spans = refused.spans.min(spans);
                    add(&self.counts.sent, spans - refused_spans);
                    add(&self.counts.refused, refused_spans);
                    let why = Some(refused.why).filter(|_| refused_spans > 0);
                    return self.report.sent(&self.options, &self.counts, why.as_deref());
                }
                Err(error) => error,
            };
            let pause = pauses.next().filter(|_| error.is_passing && !self.is_finishing());
            if pause.is_none() {
                add(if error.is_passing { &self.counts.unsent } else { &self.counts.refused }, spans);
            }
            self.report.failed(&self.options, &self.counts, &error.why, pause.is_some());
            let Some(pause) = pause else { return };
            let pause = error.pause.map_or(*pause, |asked| asked.clamp(*pause, LONGEST_PAUSE));
            tokio::select! {
                () = sleep(pause) => {}
                _ = self.finishing.wait_for(Option::is_some) => {}
            }
        }
    }

    fn is_finishing(&self) -> bool {
        self.finishing.borrow().is_some()
    }
}

/// Resolves when the time is over that there is at the end.
async fn end(finishing: &mut watch::Receiver<Option<Instant>>) {
    match finishing.wait_for(Option::is_some).await.map(|until| *until) {
        Ok(Some(until)) => sleep_until(until).await,
        // Whoever could ask for it has gone, and waits for nothing.
        _ => sleep(FINISHED_WITHIN).await,
    }
}

impl Report {
    /// A batch was taken, but for what was refused of it.
    fn sent(&mut self, options: &TraceOptions, counts: &SpanCounts, refused: Option<&str>) {
        let to = options.endpoint.to_string();
        if std::mem::take(&mut self.is_failing) {
            SpansSentAgain { to: &to, dropped: self.dropped_since(counts) }.emit();
            self.told = None;
        }
        let full = counts.dropped() > self.dropped;
        if refused.is_some() || full {
            self.drops(&to, counts, refused.unwrap_or("more calls end than it takes spans"), false);
        }
    }

    /// A batch was not taken.
    fn failed(&mut self, options: &TraceOptions, counts: &SpanCounts, why: &str, is_again: bool) {
        if !std::mem::replace(&mut self.is_failing, true) {
            self.told = None;
        }
        self.drops(&options.endpoint.to_string(), counts, why, is_again);
    }

    /// At most once a minute.
    fn drops(&mut self, to: &str, counts: &SpanCounts, why: &str, is_again: bool) {
        let now = Instant::now();
        if self.told.is_none_or(|told| now - told >= TOLD_AGAIN) {
            self.told = Some(now);
            SpansDropped { to, why, is_again, dropped: self.dropped_since(counts) }.emit();
        }
    }

    /// Nothing is sent any more.
    fn finish(&mut self, options: &TraceOptions, counts: &SpanCounts) {
        let dropped = self.dropped_since(counts);
        if dropped > 0 {
            let to = options.endpoint.to_string();
            SpansDropped { to: &to, why: "the server ends", is_again: false, dropped }.emit();
        }
    }

    /// How many spans were dropped since the last time that this was asked.
    fn dropped_since(&mut self, counts: &SpanCounts) -> u64 {
        let dropped = counts.dropped();
        dropped - std::mem::replace(&mut self.dropped, dropped)
    }
}

fn add(count: &AtomicU64, spans: u64) {
    count.fetch_add(spans, Ordering::Relaxed);
}
