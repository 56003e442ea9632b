//! A stream that looks at the messages on their way in: none may be larger than a limit, whether a password was asked
//! for is kept, and bytes are counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// Largest message that is taken: a row with a vector of 16000 dimensions as text arrays has under 1 MB. The client
/// library would buffer any message whole, up to 2 GB.
pub(super) const MAX_MESSAGE: usize = 64 << 20;
/// As long as the server is not yet trusted.
const MAX_STARTUP_MESSAGE: usize = 1 << 20;

const AUTHENTICATION: u8 = b'R';
const READY_FOR_QUERY: u8 = b'Z';

/// What was seen of a connection.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub bytes: AtomicU64,
    /// The server asked for a password in some form.
    pub password_asked: AtomicBool,
}

/// Follows the framing of the backend's messages: a type byte, a length that counts itself, a body.
#[derive(Debug, Default)]
struct Framing {
    header: [u8; 9],
    have: usize,
    /// Bytes of the current body still to come.
    left: usize,
    started: bool,
}

impl Framing {
    fn follow(&mut self, mut bytes: &[u8], seen: &Seen) -> io::Result<()> {
        seen.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        while !bytes.is_empty() {
            if self.left > 0 {
                let step = self.left.min(bytes.len());
                self.left -= step;
                bytes = &bytes[step..];
                continue;
            }
            // Of an authentication request the code behind the header is looked at as well.
            let wanted = if self.have > 0 && self.header[0] == AUTHENTICATION {
                9
            } else {
                5
            };
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == wanted {
                self.left = self.message(seen)?;
                self.have = 0;
            }
        }
        Ok(())
    }

    /// Looks at a header. Returns how much of the message is still to come.
    fn message(&mut self, seen: &Seen) -> io::Result<usize> {
        let [tag, a, b, c, d, code @ ..] = self.header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let limit = if self.started {
            MAX_MESSAGE
        } else {
            MAX_STARTUP_MESSAGE
        };
        let read = self.have - 1;
        if length < read || length > limit {
            let text = format!("a message of {length} bytes, more than {limit} or less than its header");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.started |= tag == READY_FOR_QUERY;
        // Cleartext, MD5, SASL.
        if tag == AUTHENTICATION && matches!(u32::from_be_bytes(code), 3 | 5 | 10) {
            seen.password_asked.store(true, Ordering::Release);
        }
        Ok(length - read)
    }
}

/// A stream of PostgreSQL's protocol, with TLS taken off.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    framing: Framing,
    seen: Arc<Seen>,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, seen: Arc<Seen>) -> Self {
        Self {
            stream,
            framing: Framing::default(),
            seen,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        Poll::Ready(this.framing.follow(&buf.filled()[before..], &this.seen))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Guarded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// TLS with the guard inside it.
pub(super) struct GuardedTls<T> {
    pub tls: T,
    pub seen: Arc<Seen>,
}

impl<S, T> TlsConnect<S> for GuardedTls<T>
where
    T: TlsConnect<S>,
    T::Future: Send + 'static,
{
    type Stream = Guarded<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, T::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let handshake = self.tls.connect(stream);
        Box::pin(async move { Ok(Guarded::new(handshake.await?, self.seen)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let mut stream = vec![
            b'R', 0, 0, 0, 12, 0, 0, 0, 5, 1, 2, 3, 4, b'S', 0, 0, 0, 6, b'a', b'b',
        ];
        stream.extend([b'R', 0, 0, 0, 8, 0, 0, 0, 0, b'Z', 0, 0, 0, 5, b'I']);
        for step in 1..stream.len() {
            let (mut framing, seen) = (Framing::default(), Seen::default());
            for bytes in stream.chunks(step) {
                framing.follow(bytes, &seen).unwrap();
            }
            assert!(framing.started && framing.have == 0 && framing.left == 0);
            assert!(seen.password_asked.load(Ordering::Acquire));
            assert_eq!(seen.bytes.load(Ordering::Relaxed), stream.len() as u64);
            let huge = [b'd', 0x7f, 0xff, 0xff, 0xff];
            assert!(framing.follow(&huge, &seen).is_err());
        }
    }

    #[test]
    fn trust_is_told_from_a_password() {
        let (mut framing, seen) = (Framing::default(), Seen::default());
        framing.follow(&[b'R', 0, 0, 0, 8, 0, 0, 0, 0], &seen).unwrap();
        assert!(!seen.password_asked.load(Ordering::Acquire));
        assert!(framing.follow(&[b'Z', 0, 0, 0, 3], &seen).is_err());
    }
}
