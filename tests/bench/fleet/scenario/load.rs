//! A client that asks all replicas at a steady rate, and counts for each key what was let through.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::{
    RateLimitDescriptor, rate_limit_descriptor::Entry,
};
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tokio::time::{Instant, interval, timeout};
use tonic::transport::{Channel, Endpoint};

use super::MODES;

/// How much is asked, and of which keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// The limit of each key, in an hour from its first hit.
    pub(crate) limit: u64,
    /// Calls a second, of all modes to all replicas together.
    pub(crate) rate: u64,
    /// Keys of each mode that begin to be asked for each second,
    pub(crate) new_keys: u64,
    /// and how many are asked for at a time.
    pub(crate) keys: u64,
}

/// Between two rounds of calls.
const TICK: Duration = Duration::from_millis(2);
/// The sample's Envoy waits for so long.
const ENVOY: Duration = Duration::from_millis(100);

/// What was answered about one key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) asked: u64,
    pub(crate) admitted: u64,
    /// Calls that failed for want of Redis, which Envoy's failure mode is for.
    pub(crate) failed: u64,
    /// Calls that no replica answered in time: it is gone, or the machine is busy.
    pub(crate) late: u64,
}

/// What was answered in one mode.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    pub(crate) keys: HashMap<u64, Tally>,
    /// How many calls failed, by what was said of it.
    pub(crate) failures: BTreeMap<String, u64>,
    /// When the last call failed, since the first call.
    pub(crate) last_failure: Option<Duration>,
}

/// Asks until `ends`; `at` is called with the time at each tick.
pub(crate) async fn ask(
    load: Load,
    replicas: &[String],
    ends: Duration,
    mut at: impl FnMut(Duration),
) -> [Answers; 3] {
    let connect = |address: &String| {
        RateLimitServiceClient::new(Endpoint::from_shared(address.clone()).unwrap().connect_lazy())
    };
    let clients: Vec<RateLimitServiceClient<Channel>> = replicas.iter().map(connect).collect();
    let answers: Arc<Mutex<[Answers; 3]>> = Arc::default();
    let (begun, mut ticks, mut asked) = (Instant::now(), interval(TICK), 0_u64);
    let mut calls = tokio::task::JoinSet::new();
    while begun.elapsed() < ends {
        ticks.tick().await;
        let now = begun.elapsed();
        at(now);
        let due = u64::try_from(now.as_millis()).unwrap() * load.rate / 1_000;
        while asked < due {
            // Replicas in turns, modes in turns, and keys in an order of their own.
            let turn = usize::try_from(asked).unwrap();
            let (replica, mode) = (turn % clients.len(), turn / clients.len() % MODES.len());
            let oldest = u64::try_from(now.as_millis()).unwrap() * load.new_keys / 1_000;
            let key = oldest + asked.wrapping_mul(0x9e37_79b9_7f4a_7c15) % load.keys;
            let (client, answers) = (clients[replica].clone(), Arc::clone(&answers));
            calls.spawn(async move {
                let answer = call(client, mode, key).await;
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                let answers = &mut answers[mode];
                let tally = answers.keys.entry(key).or_default();
                tally.asked += 1;
                match answer {
                    Answer::Passes => tally.admitted += 1,
                    Answer::Refused => {}
                    Answer::Late => tally.late += 1,
                    Answer::Failed(why) => {
                        tally.failed += 1;
                        *answers.failures.entry(why).or_default() += 1;
                        answers.last_failure = Some(begun.elapsed());
                    }
                }
            });
            asked += 1;
        }
        while calls.try_join_next().is_some() {}
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    answers.clone()
}

/// What became of a call.
enum Answer {
    Passes,
    Refused,
    Failed(String),
    Late,
}

async fn call(mut client: RateLimitServiceClient<Channel>, mode: usize, key: u64) -> Answer {
    let entries = [("mode", MODES[mode].to_owned()), ("key", key.to_string())];
    let entries = entries.map(|(key, value)| Entry { key: key.into(), value });
    let descriptor = RateLimitDescriptor { entries: entries.into(), ..Default::default() };
    let request = RateLimitRequest { domain: "fleet".into(), descriptors: vec![descriptor], hits_addend: 0 };
    match timeout(ENVOY, client.should_rate_limit(request)).await {
        Err(_) => Answer::Late,
        // A connection may end, with its replica, or as one on which too many late calls were cancelled.
        Ok(Err(status)) if !status.message().contains("counter store") => Answer::Late,
        Ok(Err(status)) => Answer::Failed(status.message().to_owned()),
        Ok(Ok(answer)) if answer.get_ref().overall_code() == Code::Ok => Answer::Passes,
        Ok(Ok(_)) => Answer::Refused,
    }
}
