//! Who changed what on the admin port: the last changes, for whoever looks later.
//!
//! Where the store keeps records, they are kept there, and are there after a restart.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::store::{MemoryRecords, Record, RecordKind, Records, Store, StoreError};
use crate::telemetry::{AdminChange, ChangeNotKept};

/// The most changes that are kept; the oldest goes for a new one.
pub(super) const MOST: usize = 1_000;
/// The most bytes that are kept of a text. The log has all of it.
const LONGEST: usize = 2_048;
/// They are of the server, and of no one domain.
const SCOPE: &str = "";

/// One change, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Made {
    /// As in RFC 3339.
    pub(super) at: String,
    pub(super) peer: SocketAddr,
    /// The name in the certificate that was shown, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) certificate: Option<String>,
    pub(super) what: String,
    pub(super) object: String,
    pub(super) before: String,
    pub(super) after: String,
}

/// The last changes.
#[derive(Debug)]
pub(super) struct Audit {
    records: Arc<dyn Records>,
    pub(super) is_durable: bool,
    /// The oldest first, each with what its record is known by: when it was made, in nanoseconds since 1970, or the next number.
    last: Mutex<VecDeque<(u64, Made)>>,
}

impl Audit {
    /// Those that `store` has; where it keeps no records, they end with the process. It blocks while they are read.
    pub(super) fn of(store: &impl Store) -> Self {
        let kept = store.records();
        let is_durable = kept.is_some();
        let records = kept.unwrap_or_else(|| Arc::new(MemoryRecords::default()));
        let mut last = VecDeque::new();
        let read = records.each(RecordKind::Change, SCOPE, &mut |id, value| {
            // What a later version wrote otherwise is left where it is.
            if let (Ok(id), Ok(made)) = (id.parse(), serde_json::from_slice(value)) {
                last.push_back((id, made));
            }
        });
        if let Err(error) = read {
            ChangeNotKept { doing: "read", error: &error }.emit();
        }
        Self { records, is_durable, last: Mutex::new(last) }
    }

    /// Keeps a change that was made at `now`, before this returns. One that cannot be kept was made all the same; the log says so.
    pub(super) async fn note(self: &Arc<Self>, now: Timestamp, change: AdminChange<'_>) {
        let AdminChange { peer, what, object, before, after } = change;
        let made = Made {
            at: super::shown::time(now),
            peer: peer.address,
            certificate: peer.certificate.as_deref().map(str::to_owned),
            what: what.to_owned(),
            object: short(object),
            before: short(before),
            after: short(after),
        };
        let audit = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || audit.keep(now, made)).await;
        if let Ok(Err(error)) = kept {
            ChangeNotKept { doing: "kept", error: &error }.emit();
        }
    }

    fn keep(&self, now: Timestamp, made: Made) -> Result<(), StoreError> {
        let value = serde_json::to_vec(&made).ok();
        let record = |id: u64, value| Record {
            kind: RecordKind::Change,
            scope: SCOPE.to_owned(),
            id: format!("{id:020}"),
            value,
        };
        let mut changes = Vec::new();
        {
            let mut last = self.last.lock();
            let id = last.back().map_or(0, |(id, _)| id + 1).max(now.as_nanos());
            last.push_back((id, made));
            changes.push(record(id, value));
            let too_many = last.len().saturating_sub(MOST);
            changes.extend(last.drain(..too_many).map(|(id, _)| record(id, None)));
        }
        self.records.apply(changes)
    }

    /// The last changes, the newest first.
    pub(super) fn last(&self) -> Vec<Made> {
        self.last.lock().iter().rev().map(|(_, made)| made.clone()).collect()
    }
}

/// As much of a text as is kept.
fn short(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let end = (0..=LONGEST).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
    format!("{} …", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use crate::telemetry::Operator;

    const PEER: Operator = Operator {
        address: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1),
        certificate: None,
    };

    fn change(object: &str) -> AdminChange<'_> {
        AdminChange { peer: &PEER, what: "subject change", object, before: "a", after: "b" }
    }

    #[tokio::test]
    async fn the_last_changes_are_kept_and_no_more() {
        let audit = Arc::new(Audit::of(&MemoryStore::default()));
        // One clock reading for all of them: no two have one place.
        for n in 0..MOST + 3 {
            audit.note(Timestamp::EPOCH, change(&format!("subject {n}"))).await;
        }
        let last = audit.last();
        assert_eq!((last.len(), &*last[0].object), (MOST, "subject 1002"));
        assert_eq!(last[MOST - 1].object, "subject 3");
        let mut records = 0;
        audit.records.each(RecordKind::Change, SCOPE, &mut |_, _| records += 1).unwrap();
        assert_eq!(records, MOST);
        assert!(!audit.is_durable);
    }

    #[tokio::test]
    async fn of_a_long_text_the_beginning_is_kept() {
        let audit = Arc::new(Audit::of(&MemoryStore::default()));
        audit.note(Timestamp::EPOCH, change(&"ö".repeat(4_000))).await;
        let object = &audit.last()[0].object;
        assert_eq!(object.len(), LONGEST + " …".len());
    }
}
