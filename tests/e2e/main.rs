//! Real Envoy in front, real upstream behind.
