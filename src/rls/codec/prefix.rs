//! The five bytes before each message of gRPC: whether it is compressed, and its length in bytes
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use bytes::{BufMut, Bytes, BytesMut};
use tonic::Status;
use tonic::metadata::MetadataValue;

use crate::rls::beyond::{Bound, Undecided};

/// Bytes of a prefix.
pub(in crate::rls) const PREFIX: usize = 5;

/// Bytes of the longest message that is read. 200 descriptors with values of 50 KB fit; Envoy sends no more than its own
/// header limit allows.
const LARGEST_MESSAGE: usize = 16 << 20;

/// `message` behind a prefix.
pub(in crate::rls) fn prefixed(message: &[u8]) -> Bytes {
    let mut prefixed = BytesMut::with_capacity(PREFIX + message.len());
    prefixed.put_u8(0);
    // No message is longer than 16 MiB.
    prefixed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    prefixed.put_slice(message);
    prefixed.freeze()
}

/// The number of bytes that `bytes` will have with the rest of the message, prefix included; none while the prefix is
/// incomplete. Fails as soon as `bytes` cannot become a message that is read.
pub(in crate::rls) fn prefixed_length(bytes: &[u8]) -> Result<Option<usize>, Undecided> {
    let Some((&[compressed, a, b, c, d], rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    if compressed != 0 {
        let mut status = Status::unimplemented("compressed requests are not taken");
        // The protocol asks the server to name what it accepts.
        status.metadata_mut().insert("grpc-accept-encoding", MetadataValue::from_static("identity"));
        return Err(status.into());
    }
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > LARGEST_MESSAGE {
        return Err(Bound::Message.into());
    }
    if rest.len() > length {
        return Err(Status::internal("the message is not as long as it says").into());
    }
    Ok(Some(PREFIX + length))
}
