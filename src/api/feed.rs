//! An answer that goes on: frames from whoever tells, through a bounded queue, to the connection that sends them.
//!
//! Owns the queue and its bounds. Knows no socket: the reading end is polled by the edge.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::api::budget::Held;
use crate::bell::locked;

/// How many frames, and how many bytes of them, may be unread; who leaves more is cut.
const FRAMES: usize = 64;
const BYTES: usize = 4 << 20;

/// Bytes that go out together, with what they take of a budget for as long as they are unread.
#[derive(Debug)]
pub struct Frame {
    bytes: Arc<[u8]>,
    _held: Held,
}

impl Frame {
    /// Those bytes, which others may be sent as well.
    pub fn new(bytes: Arc<[u8]>, held: Held) -> Frame {
        Frame { bytes, _held: held }
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// How a stream of frames ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// After what is queued, in order.
    Done,
    /// At once: the connection is of no more use.
    Cut,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    end: Option<End>,
    is_gone: bool,
    reader: Option<Waker>,
}

/// The writing end. Dropped, it ends the stream behind what is queued.
#[derive(Debug)]
pub struct Feed(Arc<Mutex<Queue>>);

/// The reading end, with its place among all streams.
#[derive(Debug)]
pub struct Frames {
    queue: Arc<Mutex<Queue>>,
    _place: Option<Held>,
}

/// The stream ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the stream was cut")
    }
}

impl std::error::Error for Cut {}

/// A stream of frames: its two ends. `place` is given back when the reading end is dropped.
pub fn feed(place: Option<Held>) -> (Feed, Frames) {
    let queue: Arc<Mutex<Queue>> = Arc::default();
    let frames = Frames {
        queue: Arc::clone(&queue),
        _place: place,
    };
    (Feed(queue), frames)
}

impl Feed {
    /// Queues a frame. False: nobody reads any more, or too much is unread; then the stream is cut.
    #[must_use]
    pub fn push(&self, frame: Frame) -> bool {
        let mut queue = locked(&self.0);
        if queue.is_gone || queue.end.is_some() {
            return false;
        }
        let bytes = queue.bytes + frame.bytes.len();
        if queue.frames.len() >= FRAMES || bytes > BYTES {
            drop(queue);
            self.cut();
            return false;
        }
        queue.bytes = bytes;
        queue.frames.push_back(frame);
        wake(queue);
        true
    }

    /// Ends the stream at once; what is unread is thrown away.
    pub fn cut(&self) {
        self.end(End::Cut);
    }

    /// Ends the stream: in order if all of it is read, else at once.
    pub fn close(&self) {
        let is_read = locked(&self.0).frames.is_empty();
        self.end(if is_read { End::Done } else { End::Cut });
    }

    /// Whether nobody reads any more.
    pub fn is_gone(&self) -> bool {
        let queue = locked(&self.0);
        queue.is_gone || queue.end.is_some()
    }

    fn end(&self, end: End) {
        let mut queue = locked(&self.0);
        queue.end.get_or_insert(end);
        let unread = match queue.end {
            Some(End::Cut) => std::mem::take(&mut queue.frames),
            _ => VecDeque::new(),
        };
        wake(queue);
        drop(unread);
    }
}

/// Wakes the reader, outside the lock.
fn wake(mut queue: std::sync::MutexGuard<'_, Queue>) {
    let reader = queue.reader.take();
    drop(queue);
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.end(End::Done);
    }
}

impl Frames {
    /// A stream that has ended: of an answer that has no body.
    pub fn ended() -> Frames {
        feed(None).1
    }

    /// The next frame; `None`: it has ended in order.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Cut>>> {
        let mut queue = locked(&self.queue);
        if let Some(frame) = queue.frames.pop_front() {
            queue.bytes -= frame.bytes.len();
            return Poll::Ready(Some(Ok(frame)));
        }
        match queue.end {
            Some(End::Done) => Poll::Ready(None),
            Some(End::Cut) => Poll::Ready(Some(Err(Cut))),
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let mut queue = locked(&self.queue);
        queue.is_gone = true;
        let unread = std::mem::take(&mut queue.frames);
        drop(queue);
        drop(unread);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::api::budget::Budget;

    fn frame(text: &str) -> Frame {
        Frame::new(text.as_bytes().into(), Budget::new(1, 1).hold(None))
    }

    /// What can be read now; in the second place, how it ended, if it did.
    pub fn read(frames: &mut Frames) -> (String, Option<Result<(), Cut>>) {
        let mut text = String::new();
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match frames.poll(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    text.push_str(&String::from_utf8_lossy(frame.as_ref()));
                }
                Poll::Ready(Some(Err(cut))) => return (text, Some(Err(cut))),
                Poll::Ready(None) => return (text, Some(Ok(()))),
                Poll::Pending => return (text, None),
            }
        }
    }

    #[test]
    fn frames_come_in_order_and_then_the_end() {
        let (feed, mut frames) = feed(None);
        assert!(feed.push(frame("a")) && feed.push(frame("b")));
        assert_eq!(read(&mut frames), ("ab".to_owned(), None));
        feed.close();
        assert_eq!(read(&mut frames), (String::new(), Some(Ok(()))));
        assert!(!feed.push(frame("c")));
    }

    #[test]
    fn who_does_not_read_is_cut_and_what_is_unread_let_go() {
        let (feed, mut frames) = feed(None);
        for _ in 0..FRAMES {
            assert!(feed.push(frame("x")));
        }
        assert!(!feed.push(frame("x")));
        assert!(feed.is_gone());
        assert_eq!(read(&mut frames), (String::new(), Some(Err(Cut))));
    }

    #[test]
    fn a_few_large_frames_are_too_much_as_well() {
        let (feed, _frames) = feed(None);
        let large = "x".repeat(BYTES / 2);
        assert!(feed.push(frame(&large)) && feed.push(frame(&large)));
        assert!(!feed.push(frame("x")));
    }

    #[test]
    fn a_reader_that_left_gives_its_place_back() {
        let places = Budget::new(1, 1);
        let mut place = places.hold(None);
        assert!(place.grow(1));
        let (feed, frames) = feed(Some(place));
        assert_eq!(places.used(), 1);
        drop(frames);
        assert_eq!(places.used(), 0);
        assert!(feed.is_gone() && !feed.push(frame("x")));
    }
}
