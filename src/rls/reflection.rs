//! gRPC server reflection (<https://github.com/grpc/grpc/blob/master/doc/server-reflection.md>): a client such as grpcurl
//! can call the server without a copy of Envoy's API.
//!
//! Of tonic-reflection only the messages are used. Its server ends the stream with a gRPC status when it does not know a
//! symbol; the protocol has an `error_response` for that, after which the client goes on.
//!
//! The messages of `ratelimit.v3` are read and written by hand, so the build makes no descriptors of them. `make descriptors`
//! makes them from the files in `reflection/proto`.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Uri;
use prost::{DecodeError, Message as _};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    OneofDescriptorProto,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::server_reflection_server::{ServerReflection, ServerReflectionServer};
use tonic_reflection::pb::v1::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
};
use tower_service::Service;

/// A `FileDescriptorSet` of `envoy.service.ratelimit.v3.RateLimitService` and everything that it refers to.
const DESCRIPTORS: &[u8] = include_bytes!("reflection/descriptors.binpb");

/// Adds reflection of every service of this server to `routes`, under both names of reflection.
pub fn reflected(routes: Routes) -> Result<Routes, DecodeError> {
    let reflection = ServerReflectionServer::new(Reflection(Arc::new(Symbols::of(&[
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ])?)));
    Ok(routes.add_service(reflection.clone()).add_service(Alpha(reflection)))
}

/// The descriptors that clients can ask for.
#[derive(Debug, Default)]
struct Symbols {
    services: BTreeSet<String>,
    /// Encoded `FileDescriptorProto`s by their names.
    files: HashMap<String, Bytes>,
    /// The files of fully qualified names.
    names: HashMap<String, Bytes>,
    /// The full names of messages. A client may ask for their extensions, and none has any.
    messages: BTreeSet<String>,
}

impl Symbols {
    /// The descriptors in encoded `FileDescriptorSet`s.
    fn of(sets: &[&[u8]]) -> Result<Self, DecodeError> {
        let mut symbols = Self::default();
        for set in sets {
            for file in FileDescriptorSet::decode(*set)?.file {
                symbols.add_file(&file);
            }
        }
        Ok(symbols)
    }

    fn add_file(&mut self, file: &FileDescriptorProto) {
        let (encoded, package) = (Bytes::from(file.encode_to_vec()), file.package());
        self.files.insert(file.name().to_owned(), encoded.clone());
        for message in &file.message_type {
            self.add_message(package, message, &encoded);
        }
        for enumeration in &file.enum_type {
            self.add_enumeration(package, enumeration, &encoded);
        }
        for service in &file.service {
            let name = self.add(package, service.name(), &encoded);
            for method in &service.method {
                self.add(&name, method.name(), &encoded);
            }
            self.services.insert(name);
        }
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto, file: &Bytes) {
        let name = self.add(scope, message.name(), file);
        let fields = message.field.iter().map(FieldDescriptorProto::name);
        for member in fields.chain(message.oneof_decl.iter().map(OneofDescriptorProto::name)) {
            self.add(&name, member, file);
        }
        for nested in &message.nested_type {
            self.add_message(&name, nested, file);
        }
        for nested in &message.enum_type {
            self.add_enumeration(&name, nested, file);
        }
        self.messages.insert(name);
    }

    /// An enum's value is in the scope of the enum, as in C++. It is also found below the enum.
    fn add_enumeration(&mut self, scope: &str, enumeration: &EnumDescriptorProto, file: &Bytes) {
        let name = self.add(scope, enumeration.name(), file);
        for value in &enumeration.value {
            self.add(scope, value.name(), file);
            self.add(&name, value.name(), file);
        }
    }

    /// The full name of `name` in `scope`.
    fn add(&mut self, scope: &str, name: &str, file: &Bytes) -> String {
        let name = if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
        self.names.insert(name.clone(), file.clone());
        name
    }

    fn answer(&self, request: ServerReflectionRequest) -> ServerReflectionResponse {
        let answer = match &request.message_request {
            Some(question) => self.find(question),
            None => Err((Code::InvalidArgument, "the request asks for nothing".to_owned())),
        };
        let answer = answer.unwrap_or_else(|(code, error_message)| {
            MessageResponse::ErrorResponse(ErrorResponse { error_code: code.into(), error_message })
        });
        ServerReflectionResponse {
            valid_host: request.host.clone(),
            original_request: Some(request),
            message_response: Some(answer),
        }
    }

    fn find(&self, question: &MessageRequest) -> Result<MessageResponse, (Code, String)> {
        let file = |found: Option<&Bytes>, what: &str, name: &str| {
            let file = found.ok_or_else(|| (Code::NotFound, format!("there is no {what} `{name}`")))?;
            let file_descriptor_proto = vec![file.to_vec()];
            Ok(MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto }))
        };
        match question {
            MessageRequest::FileByFilename(name) => file(self.files.get(name), "file", name),
            MessageRequest::FileContainingSymbol(name) => file(self.names.get(name), "symbol", name),
            MessageRequest::FileContainingExtension(extension) => {
                file(None, "extension of", &extension.containing_type)
            }
            MessageRequest::AllExtensionNumbersOfType(name) if self.messages.contains(name) => {
                Ok(MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
                    base_type_name: name.clone(),
                    extension_number: Vec::new(),
                }))
            }
            MessageRequest::AllExtensionNumbersOfType(name) => file(None, "message", name),
            MessageRequest::ListServices(_) => {
                let names = self.services.iter().cloned();
                let service = names.map(|name| ServiceResponse { name }).collect();
                Ok(MessageResponse::ListServicesResponse(ListServiceResponse { service }))
            }
        }
    }
}

/// Answers each request of a stream with one response.
#[derive(Debug)]
struct Reflection(Arc<Symbols>);

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream =
        Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

    async fn server_reflection_info(
        &self,
        requests: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let symbols = Arc::clone(&self.0);
        let answers = requests.into_inner().map(move |request| Ok(symbols.answer(request?)));
        Ok(Response::new(Box::pin(answers)))
    }
}

/// The service by its name before 2023, which many clients try first. Its messages are the same on the wire.
#[derive(Clone, Debug)]
struct Alpha<S>(S);

impl<S> NamedService for Alpha<S> {
    const NAME: &'static str = "grpc.reflection.v1alpha.ServerReflection";
}

impl<S, B> Service<http::Request<B>> for Alpha<S>
where
    S: Service<http::Request<B>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut call: http::Request<B>) -> S::Future {
        // A method that is not there stays unknown.
        if call.uri().path() == "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" {
            *call.uri_mut() = Uri::from_static("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
        }
        self.0.call(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_are_whole() {
        let mut before = BTreeSet::new();
        for file in FileDescriptorSet::decode(DESCRIPTORS).unwrap().file {
            for import in &file.dependency {
                assert!(before.contains(import), "{} before {import}", file.name());
            }
            before.insert(file.name().to_owned());
        }
        assert!(before.contains("envoy/service/ratelimit/v3/rls.proto"));
    }

    /// The numbers of the fields in an encoded message.
    fn numbers(message: &impl prost::Message) -> BTreeSet<u32> {
        use prost::encoding::{DecodeContext, decode_key, skip_field};
        let (encoded, mut numbers) = (message.encode_to_vec(), BTreeSet::new());
        let mut rest = &*encoded;
        while !rest.is_empty() {
            let (number, kind) = decode_key(&mut rest).unwrap();
            skip_field(kind, number, &mut rest, DecodeContext::default()).unwrap();
            numbers.insert(number);
        }
        numbers
    }

    #[test]
    fn fields_have_the_numbers_that_envoy_gives_them() {
        use envoy_types::pb::envoy::extensions::common::ratelimit::v3 as common;
        use envoy_types::pb::envoy::service::ratelimit::v3 as service;
        use service::rate_limit_response as response;

        // Every field is set, so that every number is on the wire.
        let entry = common::rate_limit_descriptor::Entry { key: "k".into(), value: "v".into() };
        let limit = common::rate_limit_descriptor::RateLimitOverride { requests_per_unit: 1, unit: 1 };
        let descriptor = common::RateLimitDescriptor {
            entries: vec![entry.clone()],
            limit: Some(limit),
            hits_addend: Some(envoy_types::pb::google::protobuf::UInt64Value { value: 1 }),
            is_negative_hits: true,
        };
        let request = service::RateLimitRequest {
            domain: "d".into(),
            descriptors: vec![descriptor.clone()],
            hits_addend: 1,
        };
        let current = response::RateLimit { name: "n".into(), requests_per_unit: 1, unit: 1 };
        let status = response::DescriptorStatus {
            code: 1,
            current_limit: Some(current.clone()),
            limit_remaining: 1,
            duration_until_reset: Some(envoy_types::pb::google::protobuf::Duration::default()),
            ..Default::default()
        };
        let answer = service::RateLimitResponse {
            overall_code: 1,
            statuses: vec![status.clone()],
            response_headers_to_add: vec![envoy_types::pb::envoy::config::core::v3::HeaderValue::default()],
            request_headers_to_add: vec![envoy_types::pb::envoy::config::core::v3::HeaderValue::default()],
            raw_body: vec![1],
            dynamic_metadata: Some(envoy_types::pb::google::protobuf::Struct::default()),
            ..Default::default()
        };
        let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let find = |path: &[&str]| {
            let mut within: Vec<&DescriptorProto> =
                set.file.iter().flat_map(|file| &file.message_type).collect();
            let mut found = None;
            for name in path {
                found = within.iter().copied().find(|message| message.name() == *name);
                within = found.unwrap_or_else(|| panic!("no `{name}`")).nested_type.iter().collect();
            }
            found.unwrap()
        };
        let described = |path: &[&str]| -> BTreeSet<u32> {
            find(path).field.iter().map(|field| u32::try_from(field.number()).unwrap()).collect()
        };
        assert_eq!(described(&["RateLimitDescriptor", "Entry"]), numbers(&entry));
        assert_eq!(described(&["RateLimitDescriptor"]), numbers(&descriptor));
        assert_eq!(described(&["RateLimitRequest"]), numbers(&request));
        // `unit_multiplier` is newer than these messages.
        let newer = |mut numbers: BTreeSet<u32>, unit_multiplier| {
            assert!(numbers.insert(unit_multiplier));
            numbers
        };
        assert_eq!(described(&["RateLimitDescriptor", "RateLimitOverride"]), newer(numbers(&limit), 3));
        assert_eq!(described(&["RateLimitResponse", "RateLimit"]), newer(numbers(&current), 4));
        assert_eq!(described(&["RateLimitResponse", "DescriptorStatus"]), numbers(&status));
        assert_eq!(described(&["RateLimitResponse"]), numbers(&answer));
    }
}
