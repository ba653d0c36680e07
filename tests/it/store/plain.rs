//! The counters of one request after the other, kept as plainly as possible.

use std::collections::HashMap;

use spillway::algorithm::{Cell, Charge, Mode, Outcomes, Share, settle};
use spillway::model::{CellKey, Timestamp};

/// What a store should answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Plain(HashMap<CellKey, Cell>);

impl Plain {
    pub(super) fn apply(&mut self, mode: Mode, charges: &[Charge], now: Timestamp) -> Outcomes {
        let mut keys: Vec<CellKey> = charges.iter().map(|charge| charge.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut cells: Vec<Cell> =
            keys.iter().map(|key| self.0.get(key).cloned().unwrap_or_default()).collect();
        let cell = |charge: &Charge| keys.binary_search(&charge.key).unwrap();
        let shares: Vec<Share> =
            charges.iter().map(|charge| Share { cell: cell(charge), ..charge.share }).collect();
        let outcomes = settle(mode, &shares, &mut cells, now);
        self.0.extend(keys.into_iter().zip(cells));
        outcomes
    }
}
