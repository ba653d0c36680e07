//! Calls whose `:authority` is not a URI authority, as Envoy sends them to a cluster with Istio's name.

use super::raw::{DATA, END_STREAM, Outcome, Raw, frame, headers};
use super::{POLICY, free, hpack};
use crate::support::{Spillway, directory, serve};

const ISTIO: &str = "outbound|8081||ratelimit.default.svc.cluster.local";
const PROTOCOL_ERROR: u32 = 1;

fn outcome(raw: &mut Raw, authority: &str) -> Outcome {
    let stream = raw.stream();
    raw.send(
        &[headers(stream, &hpack::call_to(authority)), frame(DATA, END_STREAM, stream, &free())].concat(),
    );
    raw.outcome(stream)
}

#[test]
fn an_invalid_authority_is_answered_unless_it_is_to_be_reset() {
    for (arguments, answered) in [
        (&[][..], true),
        (&["--invalid-authority", "accept"], true),
        (&["--invalid-authority", "reset"], false),
    ] {
        let config = directory(&[("d.yaml", POLICY)]);
        let spillway = Spillway::running(serve().arg(config.path()).args(arguments));
        let mut raw = Raw::to(&spillway);
        let outcome_of_istio = outcome(&mut raw, ISTIO);
        if answered {
            assert!(outcome_of_istio.is_decision(), "{arguments:?}: {outcome_of_istio:?}");
        } else {
            assert_eq!(outcome_of_istio, Outcome::Reset(PROTOCOL_ERROR), "{arguments:?}");
        }
        assert!(outcome(&mut raw, "rls").is_decision(), "a valid one on the same connection");
    }
}
