//! Units and their numbers in `envoy.type.v3.RateLimitUnit`.

use crate::model::Unit;

/// The units by number; 0 is UNKNOWN.
const UNITS: [Option<Unit>; 8] = [
    None,
    Some(Unit::Second),
    Some(Unit::Minute),
    Some(Unit::Hour),
    Some(Unit::Day),
    Some(Unit::Month),
    Some(Unit::Year),
    Some(Unit::Week),
];

pub(super) fn from_wire(number: u32) -> Option<Unit> {
    *UNITS.get(usize::try_from(number).ok()?)?
}

pub(super) fn to_wire(unit: Unit) -> u32 {
    UNITS.iter().position(|&other| other == Some(unit)).and_then(|at| at.try_into().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_has_the_number_that_envoy_gives_it() {
        let numbers = Unit::ALL.map(to_wire);
        assert_eq!(numbers, [1, 2, 3, 4, 7, 5, 6]);
        assert_eq!(numbers.map(from_wire), Unit::ALL.map(Some));
    }
}
