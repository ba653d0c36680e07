//! The secret that counters' keys are made under, kept beside the counters: replicas that share counters share it.

use std::sync::atomic::Ordering;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::Shared;
use super::failure::Failure;
use super::options::RedisOptions;
use crate::model::KeySecret;

/// What it is kept as, after the prefix.
const NAME: &str = "secret";

/// One that is drawn at random, until that of the server is known.
pub(super) fn random() -> KeySecret {
    KeySecret::new(KeySecret::draw())
}

/// Takes over the server's secret; gives it this one where it has none, as one that is new or was emptied.
pub(super) async fn share(shared: &Shared, connection: &mut MultiplexedConnection) -> Result<(), Failure> {
    let key = key(&shared.options);
    let failed = |error: RedisError| Failure::of(&error);
    let get = redis::cmd("GET").arg(&key).to_owned();
    let mut kept: Option<Vec<u8>> = get.query_async(connection).await.map_err(failed)?;
    if kept.is_none() {
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(text(shared.secret.get())).arg("NX");
        // Another replica may be quicker: its secret is the one.
        set.query_async::<redis::Value>(connection).await.map_err(failed)?;
        kept = get.query_async(connection).await.map_err(failed)?;
    }
    let read = kept.as_deref().and_then(read);
    let secret = read.ok_or_else(|| Failure::Refused(format!("`{key}` is no secret of Spillway")))?;
    shared.secret.set(secret);
    shared.knows_secret.store(true, Ordering::Release);
    Ok(())
}

/// The key that it is kept under.
pub(super) fn key(options: &RedisOptions) -> String {
    format!("{}{NAME}", options.prefix)
}

/// As it is kept.
pub(super) fn text([high, low]: [u64; 2]) -> String {
    format!("{high:016x}{low:016x}")
}

fn read(kept: &[u8]) -> Option<[u64; 2]> {
    let text = str::from_utf8(kept).ok().filter(|text| text.len() == 32)?;
    let (high, low) = text.split_at_checked(16)?;
    let secret = [u64::from_str_radix(high, 16).ok()?, u64::from_str_radix(low, 16).ok()?];
    // Scripts compare the texts.
    (self::text(secret) == text).then_some(secret)
}
