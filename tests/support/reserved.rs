//! Ports that are known before a server listens at them.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// An address at which nobody listens, and which the system gives nobody else while this lives. Who asks for it by name, and with
/// `SO_REUSEADDR` as servers do, may listen there.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) address: SocketAddr,
    _socket: Socket,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        Self { address: socket.local_addr().unwrap().as_socket().unwrap(), _socket: socket }
    }
}
