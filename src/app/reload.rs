//! Configuration that changes while the server runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{self, Fingerprint, Options};
use crate::engine::Engine;
use crate::store::Store;
use crate::telemetry::{ConfigLoaded, ConfigRefused, Metrics};

/// How often files are looked at. Asking beats being told: it is the same on every file system and through every link.
const LOOK: Duration = Duration::from_secs(1);

/// Files that a policy was read from.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What was named on the command line.
    pub path: PathBuf,
    /// How files are put together.
    pub options: Options,
    /// The files that were read.
    pub files: Vec<PathBuf>,
}

/// Publishes what the files say whenever they change. A set of files with a mistake changes nothing; the mistakes are
/// logged, once.
pub(super) async fn follow<S: Store, C: Clock>(
    watched: Watched,
    engine: Arc<Engine<S, C>>,
    metrics: Arc<Metrics>,
) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut watched = watched;
    let mut seen = Fingerprint::of(&watched.path, &watched.files);
    loop {
        ticks.tick().await;
        let (engine, metrics) = (Arc::clone(&engine), Arc::clone(&metrics));
        // On a thread that serves nobody: a large policy takes its time.
        let looked = tokio::task::spawn_blocking(move || {
            let now = Fingerprint::of(&watched.path, &watched.files);
            if now != seen {
                match config::load(&[&watched.path], watched.options.clone()) {
                    Ok(loaded) => {
                        ConfigLoaded { files: loaded.files.len(), rules: loaded.policy.rules() }
                            .emit(&metrics);
                        engine.publish(loaded.policy);
                        watched.files = loaded.files;
                    }
                    Err(diagnostics) => {
                        ConfigRefused { mistakes: config::render(&diagnostics, false) }.emit(&metrics);
                    }
                }
            }
            (watched, now)
        });
        match looked.await {
            Ok((again, now)) => (watched, seen) = (again, now),
            Err(_) => return,
        }
    }
}
