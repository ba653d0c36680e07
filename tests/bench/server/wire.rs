//! A connection's socket.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::http2::{Answer, Http2};

/// A socket that never blocks, and what is spoken on it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    pub(crate) http2: Http2,
    /// How much of `http2.out` the socket has taken.
    written: usize,
}

impl Connection {
    pub(crate) fn open(server: SocketAddr, timeout: Option<&str>) -> io::Result<Self> {
        let socket = TcpStream::connect(server)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, http2: Http2::new(&server.to_string(), timeout), written: 0 })
    }

    /// Whether bytes wait for the socket.
    pub(crate) fn is_behind(&self) -> bool {
        !self.http2.out.is_empty()
    }

    /// Writes what the socket takes.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        while self.is_behind() {
            match self.socket.write(&self.http2.out[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if self.written == self.http2.out.len() {
                self.http2.out.clear();
                self.written = 0;
            }
        }
        Ok(())
    }

    /// Reads all there is.
    pub(crate) fn read(&mut self, buffer: &mut [u8], done: &mut impl FnMut(u64, Answer)) -> io::Result<()> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(io::Error::other("the server closed the connection")),
                Ok(length) => {
                    self.http2.receive(&buffer[..length], done)?;
                    // A read that does not fill the buffer has emptied the socket.
                    if length < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
