//! What a handler's answer comes to, on its way back to the connection: a head, and behind it bytes that are all there,
//! or frames as they come.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::oneshot;

use crate::api::call::Reply;
use crate::api::door::Respond;
use crate::api::feed::{Cut, Frames};

/// What a handler's answer comes to: a reply, and what follows it instead of its body.
pub struct Outcome {
    /// Status, headers, and the body if it is whole.
    pub reply: Reply,
    /// What goes on behind the head.
    pub frames: Option<Frames>,
}

impl From<Reply> for Outcome {
    fn from(reply: Reply) -> Outcome {
        Outcome {
            reply,
            frames: None,
        }
    }
}

impl Respond for oneshot::Sender<crate::error::Result<Outcome>> {
    fn send(self: Box<Self>, answer: crate::error::Result<Reply>) {
        // The client may have left meanwhile.
        drop(oneshot::Sender::send(*self, answer.map(Outcome::from)));
    }

    fn stream(self: Box<Self>, reply: Reply, frames: Frames) {
        let frames = Some(frames);
        drop(oneshot::Sender::send(*self, Ok(Outcome { reply, frames })));
    }

    fn is_gone(&self) -> bool {
        self.is_closed()
    }
}

/// A response's body.
pub enum Sending {
    /// All of it.
    Whole(Full<Bytes>),
    /// As it comes.
    Frames(Frames),
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Sending::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Sending::Frames(frames) => frames
                .poll(cx)
                .map_ok(|frame| Frame::data(Bytes::from_owner(frame))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Sending::Whole(body) => body.is_end_stream(),
            Sending::Frames(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Sending::Whole(body) => body.size_hint(),
            Sending::Frames(_) => SizeHint::new(),
        }
    }
}
