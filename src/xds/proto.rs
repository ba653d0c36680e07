//! The messages of xDS, and of the one type of resource that is asked for.
//!
//! They are declared here because the generated ones come with all of Envoy's API, which takes minutes to compile. A test holds
//! them against those. Fields that nothing here reads or writes are left out; on the wire they are skipped.

use prost::Message;
use prost_types::{Any, Struct};

/// The type of resource: `ratelimit.config.ratelimit.v3.RateLimitConfig`.
pub(super) const TYPE_URL: &str = "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig";
/// The message that a server may wrap a resource in, to give it a version of its own.
pub(super) const WRAPPED: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";
/// The method of the aggregated discovery service, state of the world.
pub(super) const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// `envoy.service.discovery.v3.DiscoveryRequest`
#[derive(Clone, PartialEq, Message)]
pub(super) struct DiscoveryRequest {
    /// The version that was accepted last on this stream; empty before.
    #[prost(string, tag = "1")]
    pub(super) version_info: String,
    #[prost(message, optional, tag = "2")]
    pub(super) node: Option<Node>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    /// Of the response that this one answers; empty in the first request.
    #[prost(string, tag = "5")]
    pub(super) response_nonce: String,
    /// Why the response is refused, if it is.
    #[prost(message, optional, tag = "6")]
    pub(super) error_detail: Option<Status>,
}

/// `envoy.config.core.v3.Node`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(message, optional, tag = "3")]
    pub(super) metadata: Option<Struct>,
    #[prost(string, tag = "6")]
    pub(super) user_agent_name: String,
    #[prost(string, tag = "7")]
    pub(super) user_agent_version: String,
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

/// `envoy.service.discovery.v3.DiscoveryResponse`
#[derive(Clone, PartialEq, Message)]
pub(super) struct DiscoveryResponse {
    #[prost(string, tag = "1")]
    pub(super) version_info: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) resources: Vec<Any>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) nonce: String,
}

/// `envoy.service.discovery.v3.Resource`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, optional, tag = "2")]
    pub(super) resource: Option<Any>,
}

/// One domain's limits.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RateLimitConfig {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) domain: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) descriptors: Vec<RateLimitDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RateLimitDescriptor {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
    #[prost(message, optional, tag = "3")]
    pub(super) rate_limit: Option<RateLimitPolicy>,
    #[prost(message, repeated, tag = "4")]
    pub(super) descriptors: Vec<RateLimitDescriptor>,
    #[prost(bool, tag = "5")]
    pub(super) shadow_mode: bool,
    #[prost(bool, tag = "6")]
    pub(super) detailed_metric: bool,
    #[prost(bool, tag = "7")]
    pub(super) quota_mode: bool,
    #[prost(message, optional, tag = "8")]
    pub(super) metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RateLimitPolicy {
    /// `RateLimitUnit`
    #[prost(int32, tag = "1")]
    pub(super) unit: i32,
    #[prost(uint32, tag = "2")]
    pub(super) requests_per_unit: u32,
    #[prost(bool, tag = "3")]
    pub(super) unlimited: bool,
    #[prost(string, tag = "4")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) replaces: Vec<RateLimitReplace>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(super) struct RateLimitReplace {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use envoy_types::pb::envoy::config::core::v3 as core;
    use envoy_types::pb::envoy::service::discovery::v3 as discovery;
    use envoy_types::pb::google::protobuf;
    use envoy_types::pb::google::rpc;
    use envoy_types::pb::ratelimit::config::ratelimit::v3 as generated;
    use prost::Name as _;

    use super::*;

    /// The message is the same on the wire as the generated one, and loses nothing on the way back.
    fn check<Own: Message + Default + PartialEq + Debug>(
        message: &(impl Message + Default + PartialEq + Debug),
    ) {
        let own = Own::decode(message.encode_to_vec().as_slice()).unwrap();
        assert_eq!(own.encode_to_vec(), message.encode_to_vec(), "{own:?}");
    }

    fn metadata() -> protobuf::Struct {
        let value = protobuf::Value { kind: Some(protobuf::value::Kind::StringValue("a".to_owned())) };
        protobuf::Struct { fields: [("team".to_owned(), value)].into() }
    }

    #[test]
    fn messages_are_those_of_the_envoy_api() {
        let limit = generated::RateLimitPolicy {
            unit: generated::RateLimitUnit::Week.into(),
            requests_per_unit: 7,
            unlimited: true,
            name: "n".to_owned(),
            replaces: vec![generated::RateLimitReplace { name: "r".to_owned() }],
        };
        let descriptor = generated::RateLimitDescriptor {
            key: "k".to_owned(),
            value: "v".to_owned(),
            rate_limit: Some(limit),
            descriptors: vec![generated::RateLimitDescriptor::default()],
            shadow_mode: true,
            detailed_metric: true,
            quota_mode: true,
            metadata: Some(metadata()),
        };
        let config = generated::RateLimitConfig {
            name: "c".to_owned(),
            domain: "d".to_owned(),
            descriptors: vec![descriptor],
        };
        assert_eq!(generated::RateLimitConfig::type_url(), TYPE_URL);
        check::<RateLimitConfig>(&config);
        let resource = protobuf::Any { type_url: TYPE_URL.to_owned(), value: config.encode_to_vec() };
        check::<DiscoveryResponse>(&discovery::DiscoveryResponse {
            version_info: "1".to_owned(),
            resources: vec![resource.clone()],
            type_url: TYPE_URL.to_owned(),
            nonce: "2".to_owned(),
            ..Default::default()
        });
        assert_eq!(discovery::Resource::type_url(), WRAPPED);
        check::<Resource>(&discovery::Resource { resource: Some(resource), ..Default::default() });
        check::<DiscoveryRequest>(&discovery::DiscoveryRequest {
            version_info: "1".to_owned(),
            node: Some(core::Node {
                id: "n".to_owned(),
                metadata: Some(metadata()),
                user_agent_name: "spillway".to_owned(),
                user_agent_version_type: Some(core::node::UserAgentVersionType::UserAgentVersion(
                    "1".to_owned(),
                )),
                ..Default::default()
            }),
            type_url: TYPE_URL.to_owned(),
            response_nonce: "2".to_owned(),
            error_detail: Some(rpc::Status { code: 3, message: "why".to_owned(), ..Default::default() }),
            ..Default::default()
        });
    }
}
