//! The certificates of a port, which are read again when their files change.
//!
//! All files of a port are read together and make one configuration, which replaces the one before as a whole: no session, no
//! ticket and no list of authorities goes from one to the next. What cannot be used changes nothing, and is said.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::rotated::Seen;
use crate::config::Fingerprint;
use crate::telemetry::{
    CertificateExpires, CertificateRefused, CertificateServed, Metrics, RevocationsOutdated, TlsClients,
    TlsInForce, TlsPort,
};
use crate::tls::{FileError, Rejection, ServerFiles, ServerTls};

/// How often the files are looked at. Not every file system reports changes, and not through every link.
const LOOK: Duration = Duration::from_secs(1);
/// How long files may go on changing before they are read all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often an operator is told that a certificate expires soon or has expired, and what is soon.
const TOLD_AGAIN: Duration = Duration::from_secs(24 * 3_600);
const SOON: Duration = Duration::from_secs(7 * 24 * 3_600);

/// How often an operator is told that a list of revoked certificates is out of date.
const OUTDATED_AGAIN: Duration = Duration::from_secs(60);

/// The certificates of one port.
#[derive(Debug)]
pub struct Certificates {
    port: TlsPort,
    files: ServerFiles,
    protocols: &'static [&'static [u8]],
    in_force: ArcSwap<ServerTls>,
    at_rotation: AtRotation,
    /// Sent to when they are replaced.
    rotations: watch::Sender<Rotation>,
    /// What the files looked like before they were read.
    seen: Vec<Fingerprint>,
}

/// That certificates were replaced.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rotation {
    /// How often it was said anew which clients are let in: by authorities, or by lists of revoked certificates.
    pub(super) clients: u64,
    /// When it was, in seconds since 1970.
    pub(super) at: u64,
}

/// Whether connections stay that were made with certificates that are in force no more. Those of clients that would not be let in any
/// more never do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtRotation {
    /// They stay.
    #[default]
    Keep,
    /// Their clients are asked to open others.
    Close,
}

impl Certificates {
    /// Reads the files of a port.
    ///
    /// # Errors
    ///
    /// When they cannot be used.
    pub fn read(port: TlsPort, files: ServerFiles, at_rotation: AtRotation) -> Result<Self, FileError> {
        let protocols: &[&[u8]] = match port {
            TlsPort::Grpc => &[b"h2"],
            TlsPort::Admin => &[b"http/1.1"],
        };
        // Before they are read: what changes in between is seen as a change.
        let seen = Fingerprint::of_each(files.paths());
        let in_force = ArcSwap::from_pointee(files.read(protocols)?);
        let rotations = watch::Sender::default();
        Ok(Self { port, files, protocols, in_force, at_rotation, rotations, seen })
    }

    pub(super) fn port(&self) -> TlsPort {
        self.port
    }

    /// Whether clients may be known by their certificates.
    pub fn knows_clients(&self) -> bool {
        self.files.clients.is_some()
    }

    /// The configuration that is in force.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.in_force.load().config)
    }

    pub(super) fn at_rotation(&self) -> AtRotation {
        self.at_rotation
    }

    /// The rotations up to now, for a connection whose handshake begins.
    pub(super) fn seen_rotations(&self) -> Seen {
        Seen::of(&self.rotations)
    }

    /// Why a client that has `shown` these certificates would not be let in any more, `at` so many seconds since 1970.
    pub(super) fn rejects(&self, shown: &[CertificateDer<'_>], at: u64) -> Option<Rejection> {
        self.in_force.load().rejects(shown, at)
    }

    /// Says what is served.
    pub(super) fn report(&self, metrics: &Metrics) {
        let ServerTls { certificate, lists_until, authorities, .. } = &**self.in_force.load();
        let in_force = TlsInForce {
            names: certificate.names.iter().map(ToString::to_string).collect(),
            not_after: certificate.not_after,
            clients: authorities.as_ref().map(|authorities| TlsClients {
                authorities: authorities.iter().map(|one| (one.subject.clone(), one.not_after)).collect(),
                lists_until: lists_until.as_ref().map(|lists| lists.next_update),
            }),
        };
        CertificateServed { port: self.port, names: &certificate.shown(), in_force }.emit(metrics);
    }

    /// Reads the files again whenever they change, as long as it is polled.
    pub(super) async fn follow(self: Arc<Self>, now: impl Fn() -> u64, metrics: Arc<Metrics>) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut follower = Follower::of(&self);
        let (mut told, mut outdated_told): (Option<Instant>, Option<Instant>) = (None, None);
        loop {
            let at = ticks.tick().await;
            let of_task = Arc::clone(&self);
            // Files may be on a file system that takes its time.
            let looked = tokio::task::spawn_blocking(move || {
                let in_force = of_task.in_force.load_full();
                let found = follower.look(&of_task.files, of_task.protocols, &in_force, at);
                (follower, found)
            });
            let Ok((looked, found)) = looked.await else {
                follower = Follower::of(&self);
                continue;
            };
            follower = looked;
            match found {
                Found::Nothing => {}
                Found::Replaced(tls) => {
                    let before = self.in_force.swap(Arc::new(*tls));
                    let content = self.in_force.load().content.clone();
                    self.report(&metrics);
                    // An authority that was renewed with the key it had lets in whom it let in.
                    if content != before.content {
                        self.rotations.send_modify(|rotation| {
                            rotation.clients += u64::from(content.clients != before.content.clients);
                            rotation.at = now();
                        });
                    }
                    told = None;
                }
                Found::Mended => self.report(&metrics),
                Found::Refused(error) => CertificateRefused { port: self.port, error: &error }.emit(&metrics),
            }
            let (in_force, now) = (self.in_force.load_full(), now());
            let left = i128::from(in_force.certificate.not_after) - i128::from(now);
            let is_due = told.is_none_or(|told| at.duration_since(told) >= TOLD_AGAIN);
            if is_due && left < i128::from(SOON.as_secs()) {
                told = Some(at);
                CertificateExpires { port: self.port, seconds_left: left }.emit();
            }
            let outdated = in_force.lists_until.as_ref().filter(|lists| lists.next_update < now);
            match outdated {
                Some(lists) if outdated_told.is_none_or(|told| at.duration_since(told) >= OUTDATED_AGAIN) => {
                    outdated_told = Some(at);
                    let seconds_ago = now - lists.next_update;
                    RevocationsOutdated { port: self.port, path: &lists.path, seconds_ago }.emit();
                }
                Some(_) => {}
                None => outdated_told = None,
            }
        }
    }
}

/// What a look at the files has found.
#[derive(Debug)]
enum Found {
    Nothing,
    Replaced(Box<ServerTls>),
    /// Those that are in force again, after some that were refused.
    Mended,
    Refused(String),
}

/// Looks at the files from time to time.
#[derive(Debug)]
struct Follower {
    /// What they looked like when they were read last.
    read: Vec<Fingerprint>,
    /// What they looked like at the last look.
    last: Vec<Fingerprint>,
    /// When they were seen to change after they were read.
    changed: Option<Instant>,
    /// What was wrong when they were read last, and whether that was said. Who writes certificate and key one after the other has
    /// a second for that.
    wrong: Option<(String, bool)>,
}

impl Follower {
    fn of(certificates: &Certificates) -> Self {
        let seen = certificates.seen.clone();
        Self { last: seen.clone(), read: seen, changed: None, wrong: None }
    }

    /// Reads the files if they have changed and then looked the same twice, or if they could not be used when they were read
    /// last.
    ///
    /// Files that were written anew and say what they said before are no change of what is `in_force`.
    fn look(
        &mut self,
        files: &ServerFiles,
        protocols: &[&[u8]],
        in_force: &ServerTls,
        now: Instant,
    ) -> Found {
        let seen = Fingerprint::of_each(files.paths());
        let settled = self.last == seen;
        self.last.clone_from(&seen);
        if seen == self.read && self.wrong.is_none() {
            self.changed = None;
            return Found::Nothing;
        }
        let changed = *self.changed.get_or_insert(now);
        if !settled && now.duration_since(changed) < LONGEST_WAIT {
            return Found::Nothing;
        }
        self.read = seen;
        match files.read(protocols) {
            Ok(tls) => {
                self.changed = None;
                let was_refused = self.wrong.take().is_some_and(|(_, is_told)| is_told);
                match tls.content == in_force.content && tls.authorities == in_force.authorities {
                    false => Found::Replaced(Box::new(tls)),
                    true if was_refused => Found::Mended,
                    true => Found::Nothing,
                }
            }
            Err(error) => {
                let error = error.to_string();
                match &mut self.wrong {
                    Some((before, is_told)) if *before == error => {
                        if std::mem::replace(is_told, true) {
                            Found::Nothing
                        } else {
                            Found::Refused(error)
                        }
                    }
                    wrong => {
                        *wrong = Some((error, false));
                        Found::Nothing
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// Writes a certificate and its key.
    fn issue(files: &ServerFiles) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
    }

    #[test]
    fn files_that_are_written_anew_and_say_the_same_are_no_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let files = ServerFiles { certificate: path("tls.crt"), key: path("tls.key"), clients: None };
        issue(&files);
        let certificates = Certificates::read(TlsPort::Grpc, files.clone(), AtRotation::Keep).unwrap();
        let mut follower = Follower::of(&certificates);
        let (begun, mut seconds) = (Instant::now(), 0);
        // What is found by so many looks, each a second after the one before.
        let mut looks = |times: usize| {
            let mut found = Vec::new();
            for _ in 0..times {
                seconds += 1;
                let now = begun + Duration::from_secs(seconds);
                found.push(match follower.look(&files, &[b"h2"], &certificates.in_force.load(), now) {
                    Found::Nothing => "nothing",
                    Found::Replaced(_) => "replaced",
                    Found::Mended => "mended",
                    Found::Refused(_) => "refused",
                });
            }
            found
        };
        // Renamed into its place, as a Kubernetes volume or `cp` does it: another file, of another time.
        let write_anew = |path: &Path, text: &[u8]| {
            let new = directory.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(&new, path).unwrap();
        };
        let (certificate, key) = (fs::read(&files.certificate).unwrap(), fs::read(&files.key).unwrap());
        write_anew(&files.certificate, &certificate);
        write_anew(&files.key, &key);
        assert_eq!(looks(4), ["nothing"; 4]);

        write_anew(&files.key, b"half of a key");
        assert_eq!(looks(4), ["nothing", "nothing", "refused", "nothing"]);
        write_anew(&files.key, &key);
        assert_eq!(looks(3), ["nothing", "mended", "nothing"]);

        issue(&files);
        assert_eq!(looks(2), ["nothing", "replaced"]);
    }
}
