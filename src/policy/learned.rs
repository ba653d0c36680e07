//! Endpoints that were asked for and not declared.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

/// The most undeclared endpoints of a domain that are told apart. Clients invent paths; without a bound each would have a
/// fresh limit, and a counter.
const MOST: usize = 10_000;

/// The first so many names; all that come later are one endpoint for each method.
#[derive(Debug, Default)]
pub struct Learned(RwLock<HashSet<Box<[u8]>>>);

impl Learned {
    /// `name` (`GET /tags`), or what stands for it once there are too many (`GET /**`).
    pub fn bound(&self, name: Vec<u8>) -> Vec<u8> {
        // A set of names is whole whatever a thread that held it died of.
        let known = |names: &HashSet<Box<[u8]>>| names.contains(name.as_slice());
        if known(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return name;
        }
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if names.len() < MOST || known(&names) {
            names.insert(name.as_slice().into());
            return name;
        }
        let method = name.iter().position(|&byte| byte == b' ').unwrap_or(name.len());
        [&name[..method], b" /**"].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cannot_invent_endpoints_for_ever() {
        let learned = Learned::default();
        for n in 0..MOST {
            let name = format!("GET /{n}").into_bytes();
            assert_eq!(learned.bound(name.clone()), name);
        }
        assert_eq!(learned.bound(b"GET /7".to_vec()), b"GET /7", "what is known stays known");
        assert_eq!(learned.bound(b"GET /new".to_vec()), b"GET /**");
        assert_eq!(learned.bound(b"PUT /new".to_vec()), b"PUT /**");
    }
}
