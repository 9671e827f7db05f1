//! How the other end of a carrier can break the protocol.

use edgeway_model::Role;

use crate::limits::CHAT_STREAMS_MAX;

/// Why a carrier has ended. Nothing of the frame is used, and nothing after it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChatFault {
    /// There is no such kind.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// Longer, or shorter, than frames of its kind are.
    #[error("a frame of kind {kind} with {bytes} bytes")]
    Length {
        /// Its kind.
        kind: u8,
        /// Bytes of its payload.
        bytes: usize,
    },
    /// A field that means nothing.
    #[error("an illegal {0}")]
    Field(&'static str),
    /// What only the other kind of node may say.
    #[error("a frame of kind {kind} from the {from}")]
    Role {
        /// Its kind.
        kind: u8,
        /// Who sent it.
        from: Role,
    },
    /// A stream that was not opened, or does not come next.
    #[error("a frame of kind {kind} for the stream {stream}, which is none")]
    Stream {
        /// Its kind.
        kind: u8,
        /// The number.
        stream: u32,
    },
    /// Said too often, or after the end.
    #[error("a frame of kind {kind} for the stream {stream} after its end")]
    Ended {
        /// Its kind.
        kind: u8,
        /// The number.
        stream: u32,
    },
    /// More DATA than there was credit for.
    #[error("more bytes on the stream {0} than its window allows")]
    Window(u32),
    /// CREDIT of nearly nothing, or beyond the widest window.
    #[error("a credit of {bytes} bytes on the stream {stream}")]
    Credit {
        /// The number.
        stream: u32,
        /// How much.
        bytes: u32,
    },
    /// More streams than there may be.
    #[error("more than {CHAT_STREAMS_MAX} streams")]
    Streams,
    /// A stream opened after LEAVING.
    #[error("a stream that is opened by one that leaves")]
    Leaving,
    /// Too many frames that carry nothing.
    #[error("a flood of frames that carry nothing")]
    Flood,
    /// It has not answered for too long.
    #[error("it does not answer any more")]
    Silent,
}
