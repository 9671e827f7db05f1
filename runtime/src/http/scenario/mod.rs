//! Scenarios of HTTP over loopback: real sockets, real TLS on both connections, and a made-up inside.

mod carried;
mod giving_up;
mod hostile;
mod liveness;
mod rig;
mod slow_read;
