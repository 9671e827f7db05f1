//! phone
mod rtp;
mod sdp;
mod tone;
