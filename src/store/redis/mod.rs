//! Counters in Redis or Valkey, which several replicas share.
//!
//! One script decides on a request, in one trip and all at once ([`DECIDE`]): its arithmetic is that of `algorithm`. A shorter one does
//! the same for requests that only have hits for windows ([`COUNT`]). Hits are
//! counted by the server's clock, so that replicas whose clocks differ count in the same windows; only the bounds of calendar
//! periods are the replica's. Counters end by themselves.

mod cluster;
mod count;
mod failure;
mod heard;
mod key;
mod link;
mod numbers;
mod options;
mod secret;
mod sentinel;
mod server_clock;
mod session;
mod slots;
mod spread;
mod tls;
mod url;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::cluster::Cluster;
pub use self::options::{CountedBy, RedisOptions};
use self::sentinel::Sentinels;
pub use self::session::RedisSession;
pub use self::tls::TlsOptions;
use self::url::Kind;
pub use self::url::{WrongUrl, shown as shown_url};
use super::{Statistics, Store, StoreError};
use crate::model::KeySecret;

/// The script that decides.
const DECIDE: &str = concat!(include_str!("counters.lua"), include_str!("decide.lua"));
/// The script that decides on what most requests are.
const COUNT: &str = concat!(include_str!("counters.lua"), include_str!("count.lua"));

/// Counters in Redis or Valkey: in one server, which sentinels may know, or in a cluster.
#[derive(Clone, Debug)]
pub struct RedisStore(Arc<Shared>);

/// What all sessions share.
#[derive(Debug)]
struct Shared {
    options: RedisOptions,
    decide: redis::Script,
    count: redis::Script,
    secret: KeySecret,
    /// Whether that is the servers' own by now. Until then nothing may be counted: other replicas have other keys.
    knows_secret: AtomicBool,
    /// Whether somebody makes keys under it. Others have keys of their own.
    gives_secret: AtomicBool,
    sentinels: Sentinels,
    cluster: Cluster,
}

impl Shared {
    fn knows_secret(&self) -> bool {
        self.knows_secret.load(Ordering::Acquire)
    }
}

impl RedisStore {
    /// The counters that a URL names; see [`RedisOptions`]. Nothing is connected yet, and a server that is down now is found when it
    /// is up.
    ///
    /// # Errors
    ///
    /// When the URL is wrong, or the password's file cannot be read.
    pub fn open(url: &str) -> Result<Self, WrongUrl> {
        Self::with(RedisOptions::read(url)?)
    }

    /// The counters that `options` name.
    ///
    /// # Errors
    ///
    /// When the password's file cannot be read.
    pub fn with(options: RedisOptions) -> Result<Self, WrongUrl> {
        // What is wrong with its files is told now.
        options.check()?;
        Ok(Self(Arc::new(Shared {
            options,
            decide: redis::Script::new(DECIDE),
            count: redis::Script::new(COUNT),
            secret: secret::random(),
            knows_secret: AtomicBool::new(false),
            gives_secret: AtomicBool::new(false),
            sentinels: Sentinels::default(),
            cluster: Cluster::default(),
        })))
    }

    /// Where the server is, without a password.
    pub fn address(&self) -> String {
        self.0.options.address()
    }

    /// The secret that counters' keys are to be made under (`policy::Keyer::shared`): the one that is kept beside the counters, as soon
    /// as the server was reached once.
    pub fn secret(&self) -> KeySecret {
        self.0.gives_secret.store(true, Ordering::Release);
        self.0.secret.clone()
    }

    /// Connects once, to have the secret before the first request, and to say at the start what is wrong. Requests are
    /// decided, as soon as they can be, whatever it tells.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or used at the moment.
    pub async fn ready(&self) -> Result<(), StoreError> {
        let ready = match self.0.options.kind {
            Kind::Cluster => cluster::slots(&self.0).await.map(drop),
            Kind::Single | Kind::Sentinel => link::connect(&self.0, None).await.map(drop),
        };
        ready.map_err(|failure| failure.error(&self.0.options))
    }
}

impl Store for RedisStore {
    type Session = RedisSession;

    fn session(&self) -> RedisSession {
        RedisSession::new(Arc::clone(&self.0))
    }

    /// What the server keeps is for the server to tell.
    fn statistics(&self) -> Statistics {
        Statistics::default()
    }
}
