//! Chat through a real edge and a real core, with a simulated chat service behind them.

mod discovery;
mod hostile;
mod house;
mod resume;
mod secrets;
mod servers;
mod sessions;
mod sign_in;
mod stanzas;
mod wire;
