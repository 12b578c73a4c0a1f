//! A client's socket, as the edge lends it to the HTTP library.
//!
//! Owns two things that the library lacks: a limit for clients that do not read, and a close that lets the
//! last answer arrive although the client is still sending.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// What a blocked write must move within its time.
const STALL_BYTES: usize = 64 << 10;
/// What is read and thrown away at most when closing.
const LINGER_BYTES: usize = 32 << 20;

/// A stream with a stall limit and a lingering close.
pub struct Socket {
    stream: TokioIo<TcpStream>,
    /// Set with every read; whoever has looked at the bytes clears it.
    unread: Arc<AtomicBool>,
    write_time: Duration,
    linger_time: Duration,
    /// While a write is blocked: when it must have moved on, and what it has moved.
    stall: Option<(Pin<Box<Sleep>>, usize)>,
    /// While closing: until when, and how much was thrown away.
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Socket {
    /// Wraps a stream.
    pub fn new(
        stream: TcpStream,
        unread: Arc<AtomicBool>,
        write_time: Duration,
        linger_time: Duration,
    ) -> Socket {
        Socket {
            stream: TokioIo::new(stream),
            unread,
            write_time,
            linger_time,
            stall: None,
            linger: None,
        }
    }

    /// The stream itself.
    pub fn into_stream(self) -> TcpStream {
        self.stream.into_inner()
    }

    /// Notes how a write went, and ends a connection whose client does not read.
    fn watched(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &wrote {
            Poll::Ready(Ok(bytes)) => {
                if let Some((deadline, moved)) = &mut self.stall {
                    *moved += bytes;
                    if *moved >= STALL_BYTES {
                        *moved = 0;
                        deadline.as_mut().reset(Instant::now() + self.write_time);
                    }
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let time = self.write_time;
                let (deadline, _) = self.stall.get_or_insert_with(|| (Box::pin(sleep(time)), 0));
                if deadline.as_mut().poll(cx).is_ready() {
                    // A mere close would leave what the kernel holds there for as long as the client likes.
                    let stream = socket2::SockRef::from(self.stream.inner());
                    drop(stream.set_linger(Some(Duration::ZERO)));
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the client does not read",
                    )));
                }
            }
        }
        wrote
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.unread.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watched(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watched(cx, wrote)
    }

    /// The library flushes when it has nothing left to write: the client has caught up.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stall = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends the writing side. If bytes came that nobody read, keeps reading for a moment: a close with bytes
    /// unread is a reset, which throws away the answer on its way.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        if !this.unread.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let time = this.linger_time;
        let (deadline, thrown_away) = this
            .linger
            .get_or_insert_with(|| (Box::pin(sleep(time)), 0));
        let mut scratch = [0; 16 << 10];
        while deadline.as_mut().poll(cx).is_pending() && *thrown_away < LINGER_BYTES {
            let mut buf = hyper::rt::ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf.unfilled()))?;
            match buf.filled().len() {
                0 => break,
                bytes => *thrown_away += bytes,
            }
        }
        Poll::Ready(Ok(()))
    }
}
